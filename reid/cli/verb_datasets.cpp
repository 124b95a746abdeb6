// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/datasets/check.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/datasets/synthetic.hpp"
#include "verb.hpp"

namespace reid::cli {
namespace {

/// Problems of one kind that are listed for people; the JSON holds all.
constexpr int64_t kShownProblems = 20;

struct CheckArguments {
  std::string name, root;
  std::vector<std::string> assignments;
};

struct MakeArguments {
  std::string kind, output;
  std::map<std::string, std::string> numbers;  ///< option name -> text, of those that were given
};

Json field_json(const FieldInfo& field) {
  return {{"name", field.name}, {"type", field.type}, {"default", field.default_value}, {"doc", field.doc}};
}

Json describe(const std::string& name) {
  const auto& registry = datasets::registry();
  const auto& entry = registry.at(name, "datasets");
  const auto reader = registry.create(name, "datasets");
  Json json{{"name", name},
            {"summary", entry.info.summary},
            {"paper", entry.info.paper},
            {"reference", entry.info.reference},
            {"claim", entry.info.claim},
            {"protocols", reader->protocols()},
            {"terms", reader->terms()}};
  json["options"] = Json::array();
  for (const auto& field : entry.fields) json["options"].push_back(field_json(field));
  json["counts"] = Json::array();
  for (const auto& count : reader->counts("")) {
    json["counts"].push_back({{"what", count.what}, {"expected", count.expected}, {"source", count.source}});
  }
  return json;
}

void list(const Common& common) {
  Json all = Json::array();
  for (const auto& name : datasets::registry().names()) all.push_back(describe(name));
  if (common.json != "-") {
    for (const auto& set : all) {
      std::cout << fmt::format("{:<22} {}\n{:<22} protocols: {}\n", set["name"].get<std::string>(),
                               set["summary"].get<std::string>(), "",
                               fmt::join(set["protocols"].get<std::vector<std::string>>(), ", "));
    }
  }
  common.write_json(all);
}

void info(const Common& common, const std::string& name) {
  const Json set = describe(name);
  if (common.json != "-") {
    std::cout << fmt::format("{}: {}\n", name, set["summary"].get<std::string>());
    for (const char* key : {"paper", "reference", "claim", "terms"}) {
      if (!set[key].get<std::string>().empty()) std::cout << fmt::format("{:<10} {}\n", key, set[key].get<std::string>());
    }
    std::cout << fmt::format("{:<10} {}\n", "protocols",
                             fmt::join(set["protocols"].get<std::vector<std::string>>(), ", "));
    for (const auto& option : set["options"]) {
      std::cout << fmt::format("option     {} = {}: {}\n", option["name"].get<std::string>(), option["default"].dump(),
                               option["doc"].get<std::string>());
    }
    for (const auto& count : set["counts"]) {
      std::cout << fmt::format("{:>10} {} ({})\n", count["expected"].get<int64_t>(), count["what"].get<std::string>(),
                               count["source"].get<std::string>());
    }
  }
  common.write_json(set);
}

void print_report(const datasets::CheckReport& report) {
  std::cout << fmt::format("{} in {}\n", report.name, report.root);
  for (const auto& note : report.notes) std::cout << fmt::format("note: {}\n", note);
  std::cout << fmt::format("{:<36} {:>10} {:>10}\n", "count", "documented", "found");
  for (const auto& count : report.counts) {
    std::cout << fmt::format("{:<36} {:>10} {:>10}{}\n", count.what, count.expected, count.actual,
                             count.expected == count.actual ? "" : "  <- differs");
  }
  std::cout << fmt::format("{} pictures, {:.1f} MB, {} decoded; {} other files skipped\n", report.pictures,
                           static_cast<double>(report.bytes) * 1e-6, report.decoded, report.skipped_files);
  std::map<std::string, int64_t> shown;
  for (const auto& problem : report.problems) {
    if (++shown[problem.kind] <= kShownProblems) {
      std::cout << fmt::format("{}: {}\n", problem.kind, problem.message);
    } else if (shown[problem.kind] == kShownProblems + 1) {
      std::cout << fmt::format("{}: and {} more (all of them in --json FILE)\n", problem.kind,
                               report.count(problem.kind) - kShownProblems);
    }
  }
}

void check(const Common& common, const CheckArguments& arguments) {
  Json part{{"name", arguments.name}};
  for (const auto& assignment : arguments.assignments) set_json(part, assignment);
  const auto reader = datasets::registry().create(part, "datasets");
  const auto report =
      datasets::check(*reader, arguments.name, arguments.root, common.apply_threads(), common.progress());
  if (common.json != "-") print_report(report);
  common.write_json(report.to_json());
  if (report.ok()) {
    if (common.json != "-") std::cout << "everything as documented\n";
    return;
  }
  std::vector<std::string> parts;
  for (const char* kind : {"count", "missing", "misnamed", "corrupt", "duplicate"}) {
    if (report.count(kind) > 0) parts.push_back(fmt::format("{} {}", report.count(kind), kind));
  }
  std::cout.flush();
  throw WorkError(fmt::format("{}: data set must be as documented, got {} problems ({})", arguments.root,
                              report.problems.size(), fmt::join(parts, ", ")));
}

void make(const Common& common, const MakeArguments& arguments) {
  using datasets::SyntheticKind;
  const auto kind = parse_enum<SyntheticKind>("datasets make", arguments.kind);
  Json options = write_options(datasets::synthetic_defaults(kind));
  for (const auto& [name, text] : arguments.numbers) {
    const bool only_market = name == "distractors" || name == "junk" || name == "extra_distractors";
    if ((only_market && kind != SyntheticKind::market1501) || (name == "outfits" && kind != SyntheticKind::ltcc)) {
      throw InputError(fmt::format("datasets make {}: option --{} must be left out, got '{}': it is for {} alone",
                                   arguments.kind, name, text, only_market ? "market1501" : "ltcc"));
    }
    const bool captioned = kind == SyntheticKind::cuhk_pedes || kind == SyntheticKind::icfg_pedes || kind == SyntheticKind::rstp_reid;
    if (name == "captions" && !captioned) {
      throw InputError(fmt::format("datasets make {}: option --{} must be left out, got '{}': it is for sets with captions alone",
                                   arguments.kind, name, text));
    }
    set_json(options, "/" + name + "=" + text);
  }
  if (common.seed) options["seed"] = *common.seed;
  const auto result =
      datasets::make_synthetic(kind, read_options<datasets::SyntheticOptions>(options, "datasets make"), arguments.output,
                               common.apply_threads(), common.progress());
  if (common.json != "-") std::cout << fmt::format("{} pictures in {}\n", result.pictures, result.folder.string());
  common.write_json({{"kind", arguments.kind},
                     {"folder", result.folder.string()},
                     {"pictures", result.pictures},
                     {"options", options}});
}

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace

void add_datasets(CLI::App& app, Common& common) {
  CLI::App* verb = app.add_subcommand("datasets", "data sets: what is known, check a copy, draw a synthetic one");
  verb->require_subcommand(1);

  CLI::App* list_verb = verb->add_subcommand("list", "all data sets with their protocols");
  add_common(*list_verb, common, common_json);
  list_verb->callback([&common] { list(common); });

  CLI::App* info_verb = verb->add_subcommand("info", "one data set: paper, options, documented counts, terms");
  const auto name = std::make_shared<std::string>();
  info_verb->add_option("NAME", *name, "name as in 'reid datasets list'")->required();
  add_common(*info_verb, common, common_json);
  info_verb->callback([&common, name] { info(common, *name); });

  CLI::App* check_verb =
      verb->add_subcommand("check", "compare the counts with the documented ones and decode every picture");
  const auto checked = std::make_shared<CheckArguments>();
  check_verb->add_option("NAME", checked->name, "name as in 'reid datasets list'")->required();
  check_verb->add_option("--root", checked->root, "folder that holds the set's own folders")->required()->check(named_folder());
  add_set(*check_verb, checked->assignments);
  add_common(*check_verb, common, common_threads | common_json);
  check_verb->callback([&common, checked] { check(common, *checked); });

  CLI::App* make_verb = verb->add_subcommand("make", "draw pedestrians in the layout of a real data set");
  const auto made = std::make_shared<MakeArguments>();
  make_verb->add_option("KIND", made->kind,
                        fmt::format("{}", fmt::join(detail::choices<datasets::SyntheticKind>(), ", ")))
      ->required();
  make_verb->add_option("--output", made->output, "new or empty folder")->required()->check(named_folder());
  for (const auto& field : describe_options(datasets::SyntheticOptions{})) {
    if (field.name == "seed") continue;  // of the common options
    make_verb->add_option_function<std::string>(
        "--" + dashed(field.name), [made, key = field.name](const std::string& text) { made->numbers[key] = text; },
        fmt::format("{} (default {} or what suits the layout)", field.doc, field.default_value.dump()));
  }
  add_common(*make_verb, common, common_threads | common_seed | common_json, "seed of everything that is drawn (default: 0)");
  make_verb->callback([&common, made] { make(common, *made); });
}

}  // namespace reid::cli
