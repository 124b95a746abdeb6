// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/compare.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <span>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/engine/checkpoint.hpp"
#include "reid/engine/oracle.hpp"
#include "report.hpp"
#include "run_parts.hpp"

namespace reid::engine {
namespace {

namespace fs = std::filesystem;

constexpr const char* kResults = "results.jsonl";
constexpr int64_t kResamples = 1000;

/// One evaluation that the suite asks for.
struct Job {
  const SuiteEntry* entry = nullptr;
  std::size_t index = 0;
  int64_t seed = 0;
  std::optional<Experiment> experiment;  // unset: only evaluated
  EvaluationOptions evaluation;
  Json identity;  // what `fingerprint` is of, besides the evaluation
  std::string fingerprint;
  fs::path oracle_of;  // run whose stage is scored; empty: not an oracle
  std::string id() const { return fmt::format("{}-{}", entry->name, seed); }
};

/// Letters, digits and `_.+-`: an entry's name becomes a folder's.
bool is_plain(const std::string& name) {
  return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '+' || c == '-';
  });
}

class Comparison {
 public:
  Comparison(const Json& suite, const fs::path& folder, const Catalogue& catalogue, const RunOptions& options)
      : suite_(read_options<Suite>(suite)), folder_(folder), catalogue_(catalogue), options_(options) {}

  /// Finds mistakes in the configuration, before the data set is looked for as far as they don't depend on it.
  void prepare();

  SuiteSummary execute();

 private:
  void check_suite();
  void make_jobs();
  Job make_job(std::size_t index, int64_t seed) const;
  const Job& job_of_oracle(const Job& oracle) const;
  void settle_protocol();
  void settle(Job& job) const;
  void read_results();
  bool perform(const Job& job, std::size_t number);
  fs::path stages_for(const Job& job) const;
  void append(const Json& line);
  void check_same_scoring() const;
  Json summarise() const;
  Json summarise_entry(std::size_t index, const std::vector<const Job*>& jobs) const;
  std::vector<double> mean_precision(const std::vector<const Job*>& jobs) const;
  fs::path run_folder(const Job& job) const { return options_.output / "runs" / job.id(); }

  Suite suite_;
  fs::path folder_;
  const Catalogue& catalogue_;
  const RunOptions& options_;
  std::string protocol_;
  data::DataSet dataset_;
  std::vector<Job> jobs_;
  std::map<std::string, Json> results_;  // by job id
};

void Comparison::check_suite() {
  REID_CHECK(!suite_.entries.empty(), ConfigError, "/entries: list must hold at least one entry, got none");
  REID_CHECK(!suite_.seeds.empty(), ConfigError, "/seeds: list must hold at least one seed, got none");
  std::set<std::string> names;
  for (std::size_t i = 0; i < suite_.entries.size(); ++i) {
    const auto& entry = suite_.entries[i];
    const auto at = fmt::format("/entries/{}", i);
    REID_CHECK(is_plain(entry.name), ConfigError,
               fmt::format("{}/name: name must be of letters, digits, '_', '.', '+' and '-', got '{}'", at, entry.name));
    REID_CHECK(names.insert(entry.name).second, ConfigError,
               fmt::format("{}/name: name must be new, got '{}' twice", at, entry.name));
    const bool trained = !entry.config.empty() || !entry.experiment.empty() || !suite_.base.empty();
    const bool given = !entry.model.is_null();
    if (entry.oracle) {
      REID_CHECK(!given && entry.weights.empty() && entry.config.empty() && entry.experiment.empty(), ConfigError,
                 fmt::format("{}: oracle must stand without experiment, model and weights of its own, got them beside", at));
      const auto of = std::find_if(suite_.entries.begin(), suite_.entries.begin() + static_cast<std::ptrdiff_t>(i),
                                   [&](const SuiteEntry& other) { return other.name == entry.oracle->of; });
      REID_CHECK(of != suite_.entries.begin() + static_cast<std::ptrdiff_t>(i) && of->model.is_null() && !of->oracle, ConfigError,
                 fmt::format("{}/oracle/of: value must name an entry above that is trained, got '{}'", at, entry.oracle->of));
      continue;
    }
    REID_CHECK(!given || (entry.config.empty() && entry.experiment.empty()), ConfigError,
               fmt::format("{}: entry must have an experiment or a model with weights, got both", at));
    REID_CHECK(given || trained, ConfigError, fmt::format("{}: entry must have an experiment or a model, got neither", at));
    REID_CHECK(given == !entry.weights.empty(), ConfigError,
               fmt::format("{}/weights: file must be given for a model, and only there, got {}", at,
                           given ? "none" : "'" + entry.weights + "'"));
  }
}

/// How an entry is named in messages.
std::string pointer_of(const Job& job) { return fmt::format("/entries/{} ({})", job.index, job.entry->name); }

/// By seed first: a comparison that is stopped has whole rounds.
void Comparison::make_jobs() {
  const auto seeds_of = [&](const SuiteEntry& entry) {
    return !entry.model.is_null() ? std::vector<int64_t>{0} : entry.seeds.empty() ? suite_.seeds : entry.seeds;
  };
  std::size_t rounds = 0;
  for (const auto& entry : suite_.entries) rounds = std::max(rounds, seeds_of(entry).size());
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < suite_.entries.size(); ++i) {
      const auto seeds = seeds_of(suite_.entries[i]);
      if (round < seeds.size()) jobs_.push_back(make_job(i, seeds[round]));
    }
  }
}

/// The training whose stage an oracle looks at; an entry above, so it is there if it is at all.
const Job& Comparison::job_of_oracle(const Job& oracle) const {
  const auto of = std::find_if(jobs_.begin(), jobs_.end(), [&](const Job& other) {
    return other.seed == oracle.seed && other.entry->name == oracle.entry->oracle->of;
  });
  REID_CHECK(of != jobs_.end(), ConfigError,
             fmt::format("{}/seeds: list must hold seeds of '{}' alone, got {}", pointer_of(oracle), oracle.entry->oracle->of, oracle.seed));
  return *of;
}

/// All of an evaluation that its configuration alone says.
Job Comparison::make_job(std::size_t index, int64_t seed) const {
  const auto& entry = suite_.entries[index];
  Job job;
  job.entry = &entry;
  job.index = index;
  job.seed = seed;
  const auto at = pointer_of(job);
  Json evaluation = suite_.evaluation;
  if (entry.oracle) {
    const auto& of = job_of_oracle(job);
    const auto& stages = of.experiment->stages;
    REID_CHECK(std::any_of(stages.begin(), stages.end() - 1, [&](const StageOptions& s) { return s.name == entry.oracle->stage; }),
               ConfigError, fmt::format("{}/oracle/stage: value must name an earlier stage of '{}', got '{}'", at,
                                        entry.oracle->of, entry.oracle->stage));
    job.oracle_of = run_folder(of);
    evaluation = write_options(of.evaluation);
    job.identity = Json{{"oracle", entry.oracle->stage}};
  } else if (entry.model.is_null()) {
    Json json = Json::object();
    merge_experiment(json, suite_.base);
    if (!entry.config.empty()) merge_experiment(json, read_config_file(folder_ / entry.config));
    merge_experiment(json, entry.experiment);
    REID_CHECK(json.is_object(), ConfigError, fmt::format("{}: experiment must be an object, got {}", at, json_type_name(json)));
    json["seed"] = seed;
    if (!json.contains("data")) json["data"] = Json::object();
    Json data = write_options(suite_.data);
    for (const auto& [key, value] : data.items()) {
      const bool is_default = value == write_options(DataOptions{}).at(key);
      if (!is_default || !json["data"].contains(key)) json["data"][key] = value;
    }
    try {
      job.experiment = read_experiment(json, catalogue_);
    } catch (const Error& error) {
      throw ConfigError(fmt::format("{}: {}", at, error.what()));
    }
    if (json.contains("evaluation")) {
      Json own = json["evaluation"];
      merge_json(own, evaluation);
      evaluation = own;
    }
    job.identity = resolve_experiment(*job.experiment);
    for (const char* key : {"root", "loader_threads", "prefetch", "cache"}) job.identity["data"].erase(key);
  } else {
    job.identity = Json{{"model", entry.model}, {"weights", entry.weights}};
  }
  job.evaluation = read_options<EvaluationOptions>(evaluation, "/evaluation");
  return job;
}

/// The suite's own protocol, else the data set's.
void Comparison::settle_protocol() {
  protocol_ = suite_.protocol.empty() ? dataset_.default_protocol : suite_.protocol;
  REID_CHECK(!protocol_.empty(), ConfigError, fmt::format("/protocol: a name must be given for {}, got none", dataset_.name));
  metrics::protocol(protocol_);
  for (std::size_t i = 0; i < suite_.published.size(); ++i) {
    REID_CHECK(suite_.published[i].protocol == protocol_, ConfigError,
               fmt::format("/published/{}/protocol: protocol must be the suite's '{}', got '{}'", i, protocol_,
                           suite_.published[i].protocol));
  }
  for (auto& job : jobs_) settle(job);
}

/// What is left once the protocol is known.
void Comparison::settle(Job& job) const {
  REID_CHECK(job.evaluation.protocol.empty() || job.evaluation.protocol == protocol_, ConfigError,
             fmt::format("{}: protocol must be the suite's '{}', since different protocols can't be compared, got '{}'",
                         pointer_of(job), protocol_, job.evaluation.protocol));
  job.evaluation.protocol = protocol_;
  if (job.entry->oracle) job.identity["of"] = job_of_oracle(job).fingerprint;
  job.identity["evaluation"] = write_options(job.evaluation);
  job.fingerprint = fmt::format("fnv1a64:{:016x}", fingerprint(job.identity.dump()));
}

void Comparison::read_results() {
  const auto path = options_.output / kResults;
  std::error_code error;
  if (!fs::exists(path, error)) return;
  const auto lines = read_json_lines(path);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto& json = lines[i];
    const auto at = fmt::format("{}, line {}", path.string(), i + 1);
    const auto holds = [&](const char* key, auto is) { return json.contains(key) && (json.at(key).*is)(); };
    REID_CHECK(json.is_object() && holds("entry", &Json::is_string) && holds("seed", &Json::is_number_integer) &&
                   holds("fingerprint", &Json::is_string) && holds("result", &Json::is_object),
               ConfigError, fmt::format("{}: line must be a result, got something else", at));
    const auto id = fmt::format("{}-{}", json.at("entry").get<std::string>(), json.at("seed").get<int64_t>());
    const auto job = std::find_if(jobs_.begin(), jobs_.end(), [&](const Job& j) { return j.id() == id; });
    if (job == jobs_.end()) continue;  // an entry or a seed that the suite had once
    REID_CHECK(job->fingerprint == json.at("fingerprint").get<std::string>(), ConfigError,
               fmt::format("{}: result of {} must be of this suite, got one of another configuration (name another "
                           "--output)",
                           at, id));
    results_[id] = json;
  }
}

void Comparison::append(const Json& line) {
  const auto path = options_.output / kResults;
  std::error_code error;
  std::string text = fs::exists(path, error) ? read_file(path) : std::string();
  write_file_atomic(path, text + line.dump() + "\n");
}

/// A run of the same seed whose ended stages the job needn't train again: the one with most; empty if there is none.
fs::path Comparison::stages_for(const Job& job) const {
  fs::path best;
  std::size_t most = 0;
  for (const auto& other : jobs_) {
    if (&other == &job || other.seed != job.seed || !other.experiment) continue;
    const auto count = stages_in_common(*job.experiment, run_folder(other), catalogue_);
    if (count > most) {
      most = count;
      best = run_folder(other);
    }
    if (most + 1 >= job.experiment->stages.size()) break;  // all but the last: there can't be more
  }
  return best;
}

bool Comparison::perform(const Job& job, std::size_t number) {
  const auto prefix = fmt::format("[{}/{}] {}, seed {}: ", number, jobs_.size(), job.entry->name, job.seed);
  ProgressSink progress;
  if (options_.progress) {
    progress = [&](const ProgressUpdate& update) {
      auto named = update;
      named.label = prefix + update.label;
      options_.progress(named);
    };
  }
  std::shared_ptr<nn::Model> model;
  Json training;
  if (job.experiment) {
    RunOptions run = options_;
    run.output = run_folder(job);
    run.progress = progress;
    // Not a copy: it may count how often it was asked, over all entries.
    if (options_.stop) run.stop = [this] { return options_.stop(); };
    std::error_code error;
    run.resume = fs::exists(run.output / "config.json", error);
    std::error_code ignored;
    fs::create_directories(run.output.parent_path(), ignored);
    run.stages_from = stages_for(job);
    const auto summary = train_experiment(*job.experiment, catalogue_, run);
    if (!summary.finished) return false;
    double seconds = 0;
    for (const auto& line : read_json_lines(run.output / "log.jsonl")) {
      if (line.at("event") == "epoch") seconds += line.at("seconds").get<double>();
    }
    training = Json{{"seconds", seconds}, {"summary", summary.json}};
    model = open_run(run.output, catalogue_);
  } else if (job.entry->oracle) {
    model = open_run(job.oracle_of, catalogue_);
  } else {
    model = open_model(job.entry->model, job.entry->weights, catalogue_);
  }
  int64_t parameters = 0;
  for (const auto& p : model->parameters()) parameters += p.numel();
  const auto result = job.entry->oracle ? evaluate_oracle(job.oracle_of, job.entry->oracle->stage, dataset_, job.evaluation,
                                                          catalogue_, options_.runtime, metrics::kScoringSeed, progress)
                                        : evaluate_model(*model, dataset_, job.evaluation, catalogue_.decoder, options_.runtime,
                                                         metrics::kScoringSeed, progress);
  fs::create_directories(run_folder(job));
  if (result.average_precision.defined()) {
    nn::write_safetensors(run_folder(job) / "average_precision.safetensors",
                          {{"average_precision", result.average_precision}});
  }
  Json line{{"entry", job.entry->name}, {"seed", job.seed}, {"fingerprint", job.fingerprint},
            {"parameters", parameters}, {"training", training}, {"result", result.json}};
  append(line);
  results_[job.id()] = line;
  return true;
}

void Comparison::check_same_scoring() const {
  const Json* first = nullptr;
  for (const auto& job : jobs_) {
    const auto it = results_.find(job.id());
    if (it == results_.end()) continue;
    const auto& result = it->second.at("result");
    if (first == nullptr) {
      first = &result;
      continue;
    }
    for (const char* key : {"protocol", "metric", "rerank", "dataset", "data_fingerprint"}) {
      REID_CHECK(result.value(key, Json()) == first->value(key, Json()), ConfigError,
                 fmt::format("{}: {} must be the same for all entries, got {} beside {}", job.id(), key,
                             result.value(key, Json()).dump(), first->value(key, Json()).dump()));
    }
  }
}

/// Step average precision of each query, averaged over seeds; empty where a result has none.
std::vector<double> Comparison::mean_precision(const std::vector<const Job*>& jobs) const {
  torch::Tensor sum;
  for (const auto* job : jobs) {
    const auto path = run_folder(*job) / "average_precision.safetensors";
    std::error_code error;
    if (!fs::exists(path, error)) return {};
    const auto values = nn::read_weights(path).tensors.at("average_precision");
    if (sum.defined() && sum.sizes() != values.sizes()) return {};
    sum = sum.defined() ? sum + values : values.clone();
  }
  sum = (sum / static_cast<double>(jobs.size())).contiguous();
  return {sum.data_ptr<double>(), sum.data_ptr<double>() + sum.numel()};
}

Json paired_difference(const std::vector<double>& entry, const std::vector<double>& base) {
  std::vector<double> differences;
  for (std::size_t i = 0; i < entry.size(); ++i) {
    if (!std::isnan(entry[i]) && !std::isnan(base[i])) differences.push_back(entry[i] - base[i]);
  }
  if (differences.empty()) return nullptr;
  const auto count = static_cast<int64_t>(differences.size());
  double mean = 0;
  for (const double d : differences) mean += d / static_cast<double>(count);
  Random random{0x70616972ULL, static_cast<uint64_t>(count)};
  std::vector<double> means(static_cast<std::size_t>(kResamples));
  for (auto& m : means) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += differences[static_cast<std::size_t>(random.below(count))];
    m = sum / static_cast<double>(count);
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double q) { return means[static_cast<std::size_t>(std::lround(q * static_cast<double>(kResamples - 1)))]; };
  return Json{{"mean", mean}, {"ci95", Json::array({at(0.025), at(0.975)})}};
}

Json Comparison::summarise_entry(std::size_t index, const std::vector<const Job*>& jobs) const {
  Json entry{{"name", suite_.entries[index].name}, {"seeds", Json::array()}};
  std::map<std::string, std::vector<double>> values;
  double seconds = 0;
  bool trained = true;
  for (const auto* job : jobs) {
    const auto& line = results_.at(job->id());
    entry["seeds"].push_back(job->seed);
    for (const auto& [key, value] : line.at("result").at("metrics").items()) {
      if (value.is_number()) values[key].push_back(value.get<double>());
    }
    trained = trained && line.at("training").is_object();
    if (trained) seconds += line.at("training").at("seconds").get<double>();
  }
  const auto& first = results_.at(jobs.front()->id());
  entry["metrics"] = Json::object();
  entry["ci95"] = Json::object();
  for (const auto& [key, list] : values) {
    double mean = 0;
    for (const double v : list) mean += v / static_cast<double>(list.size());
    entry["metrics"][key] = mean;
    if (list.size() > 1) {
      const auto [low, high] = student_interval(list);
      entry["ci95"][key] = Json::array({low, high});
    }
  }
  if (jobs.size() == 1 && first.at("result").contains("ci95")) entry["ci95"] = first.at("result").at("ci95");
  entry["interval"] = jobs.size() > 1 ? "seeds" : "queries";
  entry["parameters"] = first.at("parameters");
  entry["training_seconds"] = trained ? Json(seconds / static_cast<double>(jobs.size())) : Json();
  entry["feature"] = first.at("result").at("feature");
  entry["flip"] = first.at("result").at("flip");
  entry["oracle"] = first.at("result").value("oracle", Json());
  return entry;
}

Json Comparison::summarise() const {
  Json summary{{"title", suite_.title}, {"protocol", protocol_}, {"entries", Json::array()}};
  std::vector<double> base;
  for (std::size_t i = 0; i < suite_.entries.size(); ++i) {
    std::vector<const Job*> jobs;
    bool whole = true;
    for (const auto& job : jobs_) {
      if (job.index != i) continue;
      jobs.push_back(&job);
      whole = whole && results_.count(job.id()) != 0;
    }
    if (!whole) continue;
    auto entry = summarise_entry(i, jobs);
    const auto precision = mean_precision(jobs);
    if (i == 0) base = precision;
    if (i > 0 && !precision.empty() && precision.size() == base.size()) {
      entry["map_difference"] = paired_difference(precision, base);
      if (entry["map_difference"].is_null()) entry.erase("map_difference");
    }
    if (summary.value("scored", Json()).is_null()) {
      const auto& result = results_.at(jobs.front()->id()).at("result");
      Json scored;
      for (const char* key : {"metric", "rerank", "dataset", "data_fingerprint", "queries", "queries_without_match", "gallery", "notes"}) {
        scored[key] = result.value(key, Json());
      }
      summary["scored"] = scored;
      summary["environment"] = result.at("environment");
    }
    summary["entries"].push_back(std::move(entry));
  }
  summary["published"] = Json::array();
  for (const auto& line : suite_.published) summary["published"].push_back(write_options(line));
  return summary;
}

void Comparison::prepare() {
  check_suite();
  make_jobs();
  if (!suite_.protocol.empty()) settle_protocol();
  dataset_ = open_dataset(suite_.data.evaluation(), {.train = false, .evaluation = true}, suite_.protocol, catalogue_);
  if (suite_.protocol.empty()) settle_protocol();
}

SuiteSummary Comparison::execute() {
  read_results();
  std::error_code error;
  fs::create_directories(options_.output, error);
  REID_CHECK(!error, WorkError, fmt::format("{}: folder must be makeable, got {}", options_.output.string(), error.message()));

  SuiteSummary summary;
  summary.finished = true;
  for (std::size_t i = 0; i < jobs_.size() && summary.finished; ++i) {
    if (results_.count(jobs_[i].id()) != 0) continue;
    summary.finished = perform(jobs_[i], i + 1);
    if (i + 1 < jobs_.size() && options_.stop && options_.stop()) summary.finished = false;
  }
  check_same_scoring();
  summary.json = summarise();
  if (!summary.json["entries"].empty()) {
    summary.markdown = report_markdown(summary.json);
    write_file_atomic(options_.output / "report.md", summary.markdown);
    write_file_atomic(options_.output / "report.html", report_html(summary.json));
  }
  return summary;
}

}  // namespace

void set_suite(Json& suite, std::string_view assignment) {
  const auto steps = pointer_steps(assignment);
  const auto open = [&](Json* experiment, std::size_t begin) {  // what isn't given here, another file may give
    if (begin < steps.size()) open_parts(experiment, std::span(steps).subspan(begin), /*defaults=*/false);
  };
  if (!steps.empty() && steps[0] == "base") open(child(&suite, steps[0]), 1);
  if (steps.size() > 2 && steps[0] == "entries") {
    Json* entry = child(child(&suite, steps[0]), steps[1]);
    steps[2] == "experiment" ? open(child(entry, steps[2]), 3) : open(entry, 2);
  }
  set_json(suite, assignment);
}

SuiteSummary compare(const Json& suite, const fs::path& folder, const Catalogue& catalogue, const RunOptions& options,
                     const std::string& source) {
  const auto comparison = naming(source, [&] {
    auto prepared = std::make_unique<Comparison>(suite, folder, catalogue, options);
    prepared->prepare();
    return prepared;
  });
  return comparison->execute();
}

}  // namespace reid::engine
