// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "inputs.hpp"
#include "reid/core/blank.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/sheet.hpp"
#include "reid/engine/search.hpp"
#include "reid/text/tokenizer.hpp"

namespace reid::cli {
namespace {

constexpr int64_t kTop = 10;

struct Arguments {
  ModelArguments model;
  FeatureArguments feature;
  std::string input, features, paths, text, image, text_file, output;
  std::optional<int64_t> top;
  bool has_text = false;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// @throws InputError unless the sentence is UTF-8 and says something.
void check_sentence(const std::string& sentence, const std::string& where) {
  text::check_utf8(sentence, where);
  REID_CHECK(!is_blank(sentence), InputError, where + ": sentence must hold a word, got an empty one");
}

/// The sentences that are asked for; none for a picture.
std::vector<std::string> sentences_of(const Arguments& arguments) {
  std::vector<std::string> sentences;
  if (arguments.has_text) {
    check_sentence(arguments.text, "--text");
    sentences.push_back(arguments.text);
  } else if (!arguments.text_file.empty()) {
    std::istringstream lines(read_file(arguments.text_file));
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      check_sentence(line, fmt::format("{}, line {}", arguments.text_file, sentences.size() + 1));
      sentences.push_back(line);
    }
    REID_CHECK(!sentences.empty(), InputError, arguments.text_file + ": file must hold sentences, one a line, got none");
  }
  return sentences;
}

void check_arguments(const Arguments& arguments) {
  arguments.model.check();
  const int queries = int{arguments.has_text} + int{!arguments.image.empty()} + int{!arguments.text_file.empty()};
  REID_CHECK(queries == 1, InputError,
             fmt::format("--text, --image, --text-file: one must say what is searched for, got {}", queries == 0 ? "none" : "several"));
  REID_CHECK(arguments.input.empty() != arguments.features.empty(), InputError,
             fmt::format("--input, --features: one must say what is searched, got {}", arguments.input.empty() ? "none" : "both"));
  REID_CHECK(arguments.features.empty() == arguments.paths.empty(), InputError,
             "--paths: file must be given with --features and only there, got one without the other");
}

/// Everything that can be said against the gallery before a network has to run.
void check_gallery(const Arguments& arguments, const engine::Gallery& gallery, int64_t width, const std::string& model) {
  if (gallery.features.defined()) {
    REID_CHECK(gallery.features.size(1) == width, InputError,
               fmt::format("{}: features must be as wide as those of {} ({}), got {}", gallery.source, model, width,
                           gallery.features.size(1)));
  }
  const auto most = static_cast<int64_t>(gallery.paths.size());
  REID_CHECK(!arguments.top || (*arguments.top >= 1 && *arguments.top <= most), InputError,
             fmt::format("--top: number of matches must be between 1 and the gallery's {}, got {}", most, arguments.top.value_or(0)));
}

void print(const Json& result) {
  for (const auto& query : result.at("queries")) {
    const bool text = query.contains("text");
    std::cout << fmt::format("{} {}\n", text ? "text:" : "picture:", query.at(text ? "text" : "image").get<std::string>());
    for (const auto& match : query.at("matches")) {
      std::cout << fmt::format("{:>5}  {:.4f}  {}\n", match.at("rank").get<int64_t>(), match.at("similarity").get<double>(),
                               match.at("path").get<std::string>());
    }
  }
}

void draw(const Json& result, const std::string& output) {
  std::vector<datasets::SheetRow> rows;
  for (const auto& query : result.at("queries")) {
    datasets::SheetRow row;
    row.text = query.value("text", "");
    row.picture = query.value("image", "");
    for (const auto& match : query.at("matches")) {
      row.matches.push_back({match.at("path").get<std::string>(),
                             fmt::format("{}  {:.3f}", match.at("rank").get<int64_t>(), match.at("similarity").get<double>())});
    }
    rows.push_back(std::move(row));
  }
  datasets::write_picture(output, datasets::draw_sheet(rows));
}

void search(const Arguments& arguments, const Common& common) {
  check_arguments(arguments);
  const auto sentences = sentences_of(arguments);
  const auto options = arguments.feature.options(arguments.model.evaluation());
  const bool stored = !arguments.features.empty();
  auto gallery = stored ? engine::open_gallery(arguments.features, arguments.paths)
                        : engine::Gallery{{}, pictures_of(arguments.input), arguments.input};

  const auto names = catalogue();
  const auto runtime = runtime_of(common);
  const auto model = arguments.model.open(names);
  const auto name = "'" + model->spec().value("name", "the model") + "'";
  const auto* asked_by = arguments.has_text ? "--text" : "--text-file";
  REID_CHECK(sentences.empty() || model->text_length() > 0, ConfigError,
             fmt::format("{}: model must have a text encoder, got {}", asked_by, name));
  REID_CHECK(sentences.empty() || model->tokenizer() != nullptr, ConfigError,
             fmt::format("{}: vocabulary of {} must be named (/model/text/tokenizer/vocab), got none", asked_by, name));
  check_gallery(arguments, gallery, model->embedding_size(), name);
  const auto top = arguments.top.value_or(std::min(kTop, static_cast<int64_t>(gallery.paths.size())));
  const auto queries = std::max<std::size_t>(1, sentences.size());
  if (!arguments.output.empty()) datasets::check_sheet(arguments.output, static_cast<int64_t>(queries), top);

  engine::prepare_for_inference(*model, options, runtime);
  const auto start = std::chrono::steady_clock::now();
  const auto asked = sentences.empty()
                         ? engine::extract_features(*model, {arguments.image}, names.decoder, options, runtime)
                         : engine::extract_sentence_features(*model, sentences, options, runtime);
  if (!stored) {
    gallery.features = engine::extract_features(*model, gallery.paths, names.decoder, options, runtime, common.progress());
  }
  const double encoding = seconds_since(start);
  const auto searching = std::chrono::steady_clock::now();
  const auto found = engine::search(asked, gallery, top);
  const double ranking = seconds_since(searching);

  Json result{{"metric", "cosine"},
              {"gallery", gallery.paths.size()},
              {"queries", Json::array()},
              {"seconds", {{"features", encoding}, {"ranking", ranking}}}};
  for (std::size_t i = 0; i < queries; ++i) {
    Json query = sentences.empty() ? Json{{"image", arguments.image}} : Json{{"text", sentences[i]}};
    query["matches"] = Json::array();
    const auto* rows = found.index.const_data_ptr<int64_t>() + static_cast<int64_t>(i) * top;
    const auto* similarity = found.similarity.const_data_ptr<float>() + static_cast<int64_t>(i) * top;
    for (int64_t k = 0; k < top; ++k) {
      query["matches"].push_back({{"rank", k + 1},
                                  {"similarity", similarity[k]},
                                  {"row", rows[k]},
                                  {"path", gallery.paths[static_cast<std::size_t>(rows[k])]}});
    }
    result["queries"].push_back(std::move(query));
  }
  if (!arguments.output.empty()) draw(result, arguments.output);
  common.write_json(result);
  if (common.json != "-") print(result);
}

}  // namespace

void add_search(CLI::App& app, Common& common) {
  auto* verb = app.add_subcommand("search", "find the pictures of a folder, or of stored features, that fit a sentence or a picture best");
  const auto arguments = std::make_shared<Arguments>();
  arguments->model.add(*verb);
  verb->add_option("--input", arguments->input, "searched: folder of pictures (with those below it), or a text file with a path a line");
  verb->add_option("--features", arguments->features, "searched: features of the same model, .npy, as reid embed writes them");
  verb->add_option("--paths", arguments->paths, "text file with the path of each row of --features");
  auto* text = verb->add_option("--text", arguments->text, "what is searched for: a sentence");
  verb->add_option("--image", arguments->image, "what is searched for: a picture");
  verb->add_option("--text-file", arguments->text_file, "what is searched for: sentences, one a line");
  verb->add_option("--top", arguments->top, "matches of each query (default: 10, or the whole gallery if it is smaller)");
  verb->add_option("--output", arguments->output, "contact sheet of queries and matches: .jpg, .png or .bmp")->check(writable_file());
  arguments->feature.add(*verb);
  add_common(*verb, common, common_threads | common_device | common_json);
  verb->callback([arguments, text, &common] {
    arguments->has_text = text->count() > 0;
    search(*arguments, common);
  });
}

}  // namespace reid::cli
