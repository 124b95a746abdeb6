// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reid/engine/experiment.hpp"

namespace reid::engine {

/// A line that no model earns: an earlier stage of another entry's run, scored with support (`evaluate_oracle`).
struct OracleLine {
  std::string of;
  std::string stage;
  template <class V>
  void fields(V&& v) {
    v("of", of, "an entry above, whose runs hold the stage");
    v("stage", stage, "the stage's name");
  }
};

/// One line of a comparison: a recipe that is trained, a model with weights that is only evaluated, or an oracle.
struct SuiteEntry {
  std::string name;
  std::string config;
  Json experiment = Json::object();
  Json model;
  std::string weights;
  std::optional<OracleLine> oracle;
  std::vector<int64_t> seeds;
  template <class V>
  void fields(V&& v) {
    v("name", name, "how the line is called");
    v("config", config, "experiment file, relative to the suite's; empty: only `experiment`");
    v("experiment", experiment, "experiment, or what is changed in that of `config`");
    v("model", model, "instead of an experiment: a model that isn't trained");
    v("weights", weights, "its weights");
    v("oracle", oracle, "instead of either: what a stage of another entry's runs sees if it is told the identities; no result");
    v("seeds", seeds, "seeds of this entry; empty: the suite's");
  }
};

/// A published number to be shown beside, always marked and in a table of its own.
struct PublishedNumber {
  std::string name;
  std::string protocol;
  Json metrics = Json::object();
  std::string source;
  template <class V>
  void fields(V&& v) {
    v("name", name, "method as its authors call it");
    v("protocol", protocol, "protocol it was published under; must be the suite's");
    v("metrics", metrics, "fractions: {\"rank1\": 0.961, \"map\": 0.884}");
    v("source", source, "paper or repository");
  }
};

/// A comparison of methods on one data set under one protocol.
struct Suite {
  std::string title = "Comparison";
  std::string protocol;
  DataOptions data;
  std::vector<int64_t> seeds{1};
  Json base = Json::object();
  Json evaluation = Json::object();
  std::vector<SuiteEntry> entries;
  std::vector<PublishedNumber> published;
  template <class V>
  void fields(V&& v) {
    v("title", title, "heading of the report");
    v("protocol", protocol, "the one protocol of all entries; empty: the data set's own");
    v("data", data, "data set of all entries; an experiment's own must not differ");
    v("seeds", seeds, "each entry is trained once for each");
    v("base", base, "what all experiments share; an entry's own file and values go over it");
    v("evaluation", evaluation, "how all entries are scored");
    v("entries", entries, "what is compared; differences are to the first");
    v("published", published, "numbers of papers, shown apart");
  }
};

/// How a comparison went.
struct SuiteSummary {
  bool finished = false;  ///< false: stopped, to be continued by the same command
  std::string markdown;   ///< the report
  Json json;              ///< protocol, entries with means and intervals, published
};

/// Applies one `--set` to a suite as its file says it. As `set_json`; beyond it, a part that the pointer leads into keeps its name,
/// as `set_experiment` has it: in /base, in an entry's experiment and in its model. @throws ConfigError as `set_json`.
void set_suite(Json& suite, std::string_view assignment);

/// Trains and evaluates every entry with every seed and writes into `options.output`:
///   results.jsonl           one line an evaluation, as it is done; what is there already isn't done again
///   runs/<entry>-<seed>/    the training run
///   report.md, report.html  the compared table
/// Stages that an entry begins with as another of the same seed does (a teacher of several students) are trained once.
/// Intervals (95 %): over seeds by Student's t where there are several, else the bootstrap over queries; the difference
/// to the first entry by a paired bootstrap over queries, seeds averaged.
/// @param folder  what the entries' `config` names are relative to.
/// @param source  names the suite, a file, in messages.
/// @throws ConfigError if entries would be scored under different protocols, metrics, re-rankings or data, if results
///         in the folder belong to another suite, or for anything wrong in an experiment, before anything is trained.
SuiteSummary compare(const Json& suite, const std::filesystem::path& folder, const Catalogue& catalogue,
                     const RunOptions& options, const std::string& source = "");

}  // namespace reid::engine
