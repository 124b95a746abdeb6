// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <sstream>

#include "kept_files.hpp"
#include "reid/core/error.hpp"
#include "reid/core/file_descriptor.hpp"
#include "reid/core/io.hpp"
#include "reid/core/log.hpp"
#include "reid/core/version.hpp"
#include "reid/data/cache.hpp"
#include "reid/data/sampler.hpp"
#include "reid/data/transforms.hpp"
#include "reid/engine/checkpoint.hpp"
#include "reid/ops/matmul.hpp"
#include "reid/nn/blocks.hpp"
#include "run_parts.hpp"
#include "training_data.hpp"

namespace reid::engine {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kEnvironment = "environment.json";
constexpr const char* kLog = "log.jsonl";
constexpr const char* kCheckpoint = "checkpoint.safetensors";
constexpr const char* kBest = "best.safetensors";
constexpr const char* kModel = "model.safetensors";
constexpr const char* kDone = "done.json";
constexpr const char* kModelFormat = "reid-model-1";

/// One process at a time works in a run's folder.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) : file_(::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    REID_CHECK(file_.get() >= 0, WorkError, fmt::format("{}: folder must be writable, got {}", folder.string(), std::strerror(errno)));
    REID_CHECK(::flock(file_.get(), LOCK_EX | LOCK_NB) == 0, InputError,
               fmt::format("{}: run must be free, got another process at work in it", folder.string()));
  }

 private:
  FileDescriptor file_;
};

/// Lines appended to log.jsonl; its length at a checkpoint is part of the checkpoint.
class LogFile {
 public:
  LogFile(const fs::path& path, int64_t keep_bytes) : path_(path), file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)) {
    const auto size = file_.get() < 0 ? -1 : ::lseek(file_.get(), 0, SEEK_END);
    if (size < 0) fail();
    bytes_ = std::min<int64_t>(keep_bytes, size);  // a log that was cut short or removed goes on from what is there
    if (::ftruncate(file_.get(), bytes_) != 0 || ::lseek(file_.get(), bytes_, SEEK_SET) < 0) fail();
  }
  void write(const Json& line) {
    const std::string text = line.dump() + "\n";
    for (std::size_t done = 0; done < text.size();) {
      const auto n = ::write(file_.get(), text.data() + done, text.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail();
      done += static_cast<std::size_t>(n);
    }
    bytes_ += static_cast<int64_t>(text.size());
  }
  /// Puts what was written on the disk: a checkpoint that counts on it comes after.
  void sync() {
    if (::fdatasync(file_.get()) != 0) fail();
  }
  int64_t bytes() const { return bytes_; }

 private:
  [[noreturn]] void fail() const {
    throw WorkError(fmt::format("{}: log must be writable, got {}", path_.string(), std::strerror(errno)));
  }
  fs::path path_;
  FileDescriptor file_;
  int64_t bytes_ = 0;
};

/// The first place where two configurations differ, among what changes results; "" if there is none.
std::string first_difference(const Json& stored, const Json& given) {
  static const std::set<std::string> kFree{"/data/root",           "/data/train/root", "/data/eval/root",
                                           "/data/loader_threads", "/data/prefetch",   "/data/cache",
                                           "/checkpoint_every"};
  for (const auto& step : Json::diff(stored, given)) {
    const auto path = step.at("path").get<std::string>();
    if (kFree.count(path) == 0 && path.rfind("/evaluation", 0) != 0) return path;
  }
  return "";
}

std::map<std::string, std::string> model_metadata(const nn::Model& model, const std::string& selected,
                                                  const std::string& trained_on) {
  return {{"format", kModelFormat},
          {"model", model.spec().dump()},
          {"preprocess", write_options(model.preprocess()).dump()},
          {"feature", model.feature() == nn::Feature::after_neck ? "after BN neck" : "before BN neck"},
          {"reid_version", REID_VERSION},
          {"selected", selected},
          {"trained_on", trained_on}};
}

/// An experiment with all its defaults, the model's own among them.
Json resolved_with_model(const Experiment& experiment, const nn::Model& model) {
  auto json = resolve_experiment(experiment);
  json["model"] = model.spec();
  return json;
}

/// Everything of a run that lives longer than a stage.
class Run {
 public:
  Run(const Experiment& experiment, const Catalogue& catalogue, const RunOptions& options)
      : experiment_(experiment), catalogue_(catalogue), options_(options), decoder_(catalogue.decoder) {}

  RunSummary execute();

 private:
  void load_data();
  void check_same(const Json& stored, const fs::path& where, const char* expected);
  void match_kept_files();
  void make_model(bool own_start);
  std::unique_ptr<Trainer> make_stage(std::size_t index);
  nn::TrainingFacts facts_of(std::size_t index);
  nn::StageResult unlearned_stage(std::size_t index);
  void keep_stage(std::size_t index);
  void begin_next_stage(std::size_t index);
  void read_stages(std::size_t count);
  void take_over();
  std::string stage_pointer(std::size_t index) const {
    return experiment_.stages.size() == 1 ? std::string() : fmt::format("/stages/{}", index);
  }
  bool run_stage(std::size_t index);
  void validate(Trainer& trainer, const StageOptions& stage, int64_t epochs_done, bool final_stage);
  void save(const Trainer& trainer, std::size_t index);
  RunSummary finish();
  uint64_t stage_seed(std::size_t index) const {
    return Random{static_cast<uint64_t>(experiment_.seed), index}.next() >> 11;
  }

  Experiment experiment_;
  const Catalogue& catalogue_;
  const RunOptions& options_;
  std::vector<KeptFile> kept_;  // of a run that was begun: what its model is made from, copied
  data::Decoder decoder_;  // of training pictures: the catalogue's, or a cache of what it gave
  Json resolved_;
  std::vector<Sample> pictures_;  // to train on, until they are prepared for the model
  TrainingData data_;
  std::optional<data::DataSet> validation_;
  std::shared_ptr<nn::Model> model_;
  std::shared_ptr<nn::Objective> objective_;  // of the stage made last
  std::optional<nn::StageResult> previous_;   // of the stage that ended last
  std::unique_ptr<LogFile> log_;
  std::optional<Checkpoint> resume_from_;
  std::vector<nn::StageResult> taken_;  // stages of another run, and their lines of its log
  std::vector<Json> taken_lines_;
  Json best_;  // {"epoch", "stage", "value"} or null
  int64_t steps_ = 0;
  bool told_start_ = false;  // what the first weights lack
};

void Run::load_data() {
  const auto& source = experiment_.data.training();
  auto dataset = open_dataset(source, {.train = true, .evaluation = false}, "", catalogue_);
  if (experiment_.validation) {
    auto split = hold_out(dataset, experiment_.validation->identities, static_cast<uint64_t>(experiment_.seed));
    validation_ = std::move(split.validation);
    pictures_ = std::move(split.train);
  } else {
    pictures_ = std::move(dataset.train);
  }
}

/// Files that the model is made from must have the bytes that the run was begun with; their place doesn't matter, and where
/// they are gone the run's copies do.
void Run::match_kept_files() {
  const auto& output = options_.output;
  kept_ = kept_files(output);
  if (kept_.empty()) return;
  auto begun = read_experiment(read_json_file(output / kConfig), catalogue_).model;
  const auto wrong = match_files(kept_, experiment_.model, begun);
  REID_CHECK(wrong.empty(), ConfigError, fmt::format("{}: {}", output.string(), wrong));
}

/// What was stored by an earlier version lacks the options that came since: they take their defaults.
void Run::check_same(const Json& stored, const fs::path& where, const char* expected) {
  auto begun = resolve_experiment(read_experiment(stored, catalogue_));
  match_files(kept_, resolved_.at("model"), begun.at("model"));
  const auto difference = first_difference(begun, resolved_);
  REID_CHECK(difference.empty(), ConfigError,
             fmt::format("{}: experiment must be {}, got another {}", where.string(), expected, difference));
}

/// Of weights that training leaves alone and no file gave: they stay as they were drawn. Vectors (a neck's beta) have their value.
void warn_of_random_frozen(const nn::Model& model, const std::set<const void*>& given) {
  std::vector<std::string> names;
  for (const auto& parameter : model.named_parameters()) {
    const auto& value = parameter.value();
    if (!value.requires_grad() && value.dim() > 1 && given.count(value.unsafeGetTensorImpl()) == 0) names.push_back(parameter.key());
  }
  if (names.empty()) return;
  log_warning(fmt::format("/weights: {} frozen tensors come from no file and stay as they were drawn, first '{}'", names.size(),
                          names.front()));
}

/// @param own_start  leaves the experiment's weights out: others come from a checkpoint or an earlier stage.
void Run::make_model(bool own_start) {
  torch::manual_seed(static_cast<uint64_t>(experiment_.seed));
  model_ = nn::make_model(catalogue_.models, experiment_.model, "/model");
  if (own_start) return;
  std::set<const void*> given;
  for (const auto& weights : weights_of(experiment_)) {
    nn::LoadOptions loading;
    loading.allow_missing_neck = weights.allow_missing_neck;
    loading.skip = weights.skip;
    const auto part = model_->weight_part(weights.part);
    const auto report = nn::load_state(*part.module, nn::read_weights(weights.file).tensors, part.layouts, weights.file, loading);
    const std::set<std::string> fresh(report.reinitialised.begin(), report.reinitialised.end());
    for (const auto& parameter : part.module->named_parameters()) {
      if (fresh.count(parameter.key()) == 0) given.insert(parameter.value().unsafeGetTensorImpl());
    }
    if (!report.reinitialised.empty() && !told_start_) {
      log_info(fmt::format("{}: {} tensors loaded ({}), {} start afresh: {}", weights.file, report.loaded, report.layout,
                           report.reinitialised.size(),
                           report.reinitialised.front() + (report.reinitialised.size() > 1 ? ", ..." : "")));
    }
  }
  if (!told_start_) warn_of_random_frozen(*model_, given);
  told_start_ = true;
}

/// A stage as it is before it has learned: where its weights come with a checkpoint, or nobody looks at them.
nn::StageResult Run::unlearned_stage(std::size_t index) {
  nn::StageResult result;
  result.model = nn::make_model(catalogue_.models, experiment_.model, "/model");
  result.objective = catalogue_.objectives.create(experiment_.stages[index].objective, stage_pointer(index) + "/objective",
                                                  *result.model, facts_of(index));
  return result;
}

nn::TrainingFacts Run::facts_of(std::size_t index) {
  const auto support_of = [this](std::size_t stage) {
    const auto& support = experiment_.stages[stage].support;
    return support ? support->members : int64_t{0};
  };
  auto facts = data_.facts;
  facts.support = support_of(index);
  if (index > 0) {
    facts.previous = [this, index, support_of] {
      auto result = previous_ ? *previous_ : unlearned_stage(index - 1);
      result.support = support_of(index - 1);
      result.model->to(options_.runtime.device);
      result.objective->to(options_.runtime.device);
      if (experiment_.stages[index].channels_last) nn::use_channels_last(*result.model);
      return result;
    };
  }
  return facts;
}

/// Puts what a stage has learned on the disk.
void Run::keep_stage(std::size_t index) {
  const auto files = stage_files(options_.output, experiment_.stages[index].name);
  nn::write_safetensors(files.model, nn::state_of(*model_), model_metadata(*model_, "last", experiment_.data.training().name));
  nn::write_safetensors(files.objective, nn::state_of(*objective_),
                        {{"format", "reid-objective-1"}, {"training_only", "true"}});
}

/// Puts what a stage has learned aside, and makes the model that the next one trains.
void Run::begin_next_stage(std::size_t index) {
  previous_ = nn::StageResult{model_, objective_};
  const auto ended = nn::state_of(*model_);
  const bool afresh = experiment_.stages[index + 1].start == StageStart::afresh;
  make_model(!afresh);
  if (afresh) return;
  const torch::NoGradGuard no_grad;
  for (const auto& [tensor_name, tensor] : nn::state_of(*model_)) tensor.copy_(ended.at(tensor_name));
}

/// The first `count` stages as `stages_from` ended them, with their lines of its log and their steps.
void Run::read_stages(std::size_t count) {
  const auto log = options_.stages_from / kLog;
  const auto lines = read_json_lines(log);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& name = experiment_.stages[i].name;
    auto& learned = taken_.emplace_back(unlearned_stage(i));
    const auto files = stage_files(options_.stages_from, name);
    restore_module(*learned.model, nn::read_weights(files.model).tensors, files.model.string());
    restore_module(*learned.objective, nn::read_weights(files.objective).tensors, files.objective.string());
    int64_t steps = 0;
    for (const auto& line : lines) {
      try {
        if (line.at("stage").get<std::string>() != name) continue;
        steps = std::max(steps, line.value("step", int64_t{0}));
        taken_lines_.push_back(line);
      } catch (const Json::exception& problem) {
        throw ConfigError(fmt::format("{}: lines must be of a training log, got others ({})", log.string(), problem.what()));
      }
    }
    taken_lines_.push_back(Json{{"stage", name}, {"event", "taken_over"}, {"from", options_.stages_from.string()}});
    steps_ += steps;
  }
}

void Run::take_over() {
  for (const auto& line : taken_lines_) log_->write(line);
  for (std::size_t i = 0; i < taken_.size(); ++i) {
    model_ = taken_[i].model;
    objective_ = taken_[i].objective;
    keep_stage(i);
    begin_next_stage(i);
  }
  taken_.clear();
}

std::unique_ptr<Trainer> Run::make_stage(std::size_t index) {
  const auto& stage = experiment_.stages[index];
  const auto at = stage_pointer(index);
  torch::manual_seed(stage_seed(index));
  TrainerParts parts;
  parts.model = model_;
  parts.objective = objective_ = catalogue_.objectives.create(stage.objective, at + "/objective", *model_, facts_of(index));
  parts.optimizer =
      optimizers().create(stage.optimizer, at + "/optimizer", trainable_parameters(*model_, *parts.objective));
  parts.schedule = schedules().create(stage.schedule, at + "/schedule");
  parts.sampler = data::samplers().create(stage.sampler, at + "/sampler");
  parts.labels = data_.labels;
  data::LoaderOptions loading;
  const bool cuda = options_.runtime.device.is_cuda();
  const auto threads = options_.runtime.threads;
  loading.threads = experiment_.data.loader_threads > 0 ? experiment_.data.loader_threads
                    : cuda                              ? threads
                                                        : std::max<int64_t>(1, threads / 2);
  loading.prefetch = experiment_.data.prefetch;
  loading.pin_memory = cuda;
  const auto& size = model_->preprocess();
  data::LoaderExtras extras{data_.sentences, {}};
  if (stage.support) extras.support = support_plan(data_, *stage.support, at + "/support");
  parts.loader = std::make_shared<data::Loader>(
      data_.samples, data_.labels, decoder_, data::training_transform(size, stage.augment, at + "/augment"), size.height,
      size.width, loading, std::move(extras));
  return std::make_unique<Trainer>(std::move(parts), stage, stage_seed(index), options_.runtime);
}

void Run::save(const Trainer& trainer, std::size_t index) {
  log_->sync();
  Checkpoint checkpoint;
  checkpoint.tensors = trainer.state();
  checkpoint.state = Json{{"reid_version", REID_VERSION}, {"config", resolved_},
                          {"stage", index},               {"position", trainer.position()},
                          {"best", best_},                {"log_bytes", log_->bytes()},
                          {"earlier_steps", steps_},      {"tensors", checkpoint.tensors.size()},
                          {"product_choices", ops::product_choices()}};
  save_checkpoint(options_.output / kCheckpoint, checkpoint);
}

void Run::validate(Trainer& trainer, const StageOptions& stage, int64_t epochs_done, bool final_stage) {
  EvaluationOptions scoring = experiment_.evaluation;
  scoring.protocol = "";
  scoring.metric.reset();
  scoring.rerank.reset();
  scoring.resamples = 10;  // the interval isn't read
  scoring.fold = false;
  const auto& metric = experiment_.validation->metric;
  trainer.with_deployable([&](nn::Model& model) {
    const auto result = evaluate_model(model, *validation_, scoring, catalogue_.decoder, options_.runtime,
                                       metrics::kScoringSeed, options_.progress, /*prepared=*/true);
    const auto& metrics = result.json.at("metrics");
    REID_CHECK(metrics.contains(metric) && metrics[metric].is_number(), ConfigError,
               fmt::format("/validation/metric: value must be one of the protocol's metrics, got '{}'", metric));
    const double value = metrics[metric].get<double>();
    log_->write(Json{{"event", "validation"}, {"stage", stage.name}, {"epoch", epochs_done}, {"metrics", metrics}});
    if (!final_stage) return;
    if (best_.is_null() || value > best_.at("value").get<double>()) {
      // Written before the checkpoint that mentions it: a crash between the two only repeats the epoch.
      nn::write_safetensors(options_.output / kBest, nn::state_of(model),
                            model_metadata(model, fmt::format("best_validation, epoch {}", epochs_done),
                                           experiment_.data.training().name));
      best_ = Json{{"epoch", epochs_done}, {"metric", metric}, {"value", value}};
    }
  });
}

bool Run::run_stage(std::size_t index) {
  const auto& stage = experiment_.stages[index];
  const bool final_stage = index + 1 == experiment_.stages.size();
  auto trainer = make_stage(index);
  previous_.reset();
  if (resume_from_) {
    trainer->restore(resume_from_->tensors, resume_from_->state.at("position"),
                     (options_.output / kCheckpoint).string());
    resume_from_.reset();
  }
  TrainerHooks hooks;
  hooks.progress = options_.progress;
  // Not a copy: it may count how often it was asked, over all stages.
  if (options_.stop) hooks.stop = [this] { return options_.stop(); };
  hooks.log = [&](const Json& line) {
    Json named{{"stage", stage.name}};
    named.update(line);
    log_->write(named);
  };
  hooks.epoch_end = [&](int64_t epochs_done) {
    const bool last = epochs_done == stage.epochs;
    if (validation_ && (last || epochs_done % experiment_.validation->every == 0)) {
      validate(*trainer, stage, epochs_done, final_stage);
    }
    if (last || epochs_done % experiment_.checkpoint_every == 0) save(*trainer, index);
  };
  if (!trainer->run(hooks)) {
    save(*trainer, index);
    steps_ += trainer->steps_done();
    return false;
  }
  steps_ += trainer->steps_done();
  // What a stage hands on, and what is deployed, is its running average where it has one.
  const torch::NoGradGuard no_grad;
  const auto deployable = trainer->deployable();
  for (const auto& [name, tensor] : nn::state_of(*model_)) tensor.copy_(deployable.at(name));
  if (final_stage) return true;
  keep_stage(index);
  begin_next_stage(index);
  return true;
}

RunSummary Run::finish() {
  const auto& output = options_.output;
  std::string selected = "last";
  if (!best_.is_null()) {
    restore_module(*model_, nn::read_weights(output / kBest).tensors, (output / kBest).string());
    selected = fmt::format("best_validation, epoch {}", best_.at("epoch").get<int64_t>());
  }
  const auto state = nn::state_of(*model_);
  nn::write_safetensors(output / kModel, state, model_metadata(*model_, selected, experiment_.data.training().name));
  RunSummary summary;
  summary.finished = true;
  summary.json = Json{{"finished", true},      {"steps", steps_}, {"selected", selected},
                      {"model", kModel},       {"best", best_},   {"weights_fingerprint", fingerprint_of(state)},
                      {"identities", data_.facts.identities},     {"pictures", data_.pictures},
                      {"sentences", data_.sentences.tokens.defined() ? data_.facts.samples : 0}};
  write_file_atomic(output / kDone, summary.json.dump(2) + "\n");
  return summary;
}

RunSummary Run::execute() {
  const auto& output = options_.output;
  std::error_code error;
  const bool exists = fs::exists(output, error);
  REID_CHECK(!exists || fs::is_directory(output, error), InputError,
             fmt::format("{}: output must be a folder, got a file", output.string()));
  const bool begun = fs::exists(output / kConfig, error);
  if (exists && !options_.resume) {
    REID_CHECK(fs::is_empty(output, error), InputError,
               fmt::format("{}: output must be a new or empty folder, got {}", output.string(),
                           begun ? "a run (continue it with --resume, or name another folder)" : "a folder with files"));
  }
  if (begun) match_kept_files();
  if (begun && fs::exists(output / kDone, error)) {
    make_model(true);
    resolved_ = resolved_with_model(experiment_, *model_);
    check_same(read_json_file(output / kConfig), output, "the one the run was begun with");
    return {true, read_json_file(output / kDone)};
  }

  // Everything that can be wrong with the input is found before the folder is touched.
  load_data();
  const bool resuming = options_.resume && fs::exists(output / kCheckpoint, error);
  const bool taking_over = !resuming && !options_.stages_from.empty();
  make_model(resuming);
  resolved_ = resolved_with_model(experiment_, *model_);
  const bool drop_lonely = std::any_of(experiment_.stages.begin(), experiment_.stages.end(), [](const StageOptions& stage) {
    return stage.support && stage.support->lonely == data::LonelySamples::drop;
  });
  data_ = prepare_training(std::move(pictures_), *model_, drop_lonely, experiment_.data.training().name);
  for (std::size_t i = 0; i < experiment_.stages.size(); ++i) {
    make_stage(i);
    data::samplers().create(experiment_.stages[i].sampler, stage_pointer(i) + "/sampler")->epoch(data_.labels, 0, 0);
  }
  if (begun && options_.resume) {
    check_same(read_json_file(output / kConfig), output, "the one the run was begun with");
  }
  std::size_t first_stage = taking_over ? stages_in_common(experiment_, options_.stages_from, catalogue_) : 0;
  REID_CHECK(!taking_over || first_stage > 0, ConfigError,
             fmt::format("{}: run must have ended a stage that this experiment begins with, on the same data, model, start "
                         "and seed, got none", options_.stages_from.string()));
  if (taking_over) read_stages(first_stage);
  int64_t log_bytes = 0;
  if (resuming) {
    resume_from_ = load_checkpoint(output / kCheckpoint);
    const auto& state = resume_from_->state;
    try {
      first_stage = state.at("stage").get<std::size_t>();
      best_ = state.at("best");
      log_bytes = state.at("log_bytes").get<int64_t>();
      steps_ = state.at("earlier_steps").get<int64_t>();
      REID_CHECK(state.at("position").is_object(), CheckpointError,
                 fmt::format("{}: position must be an object, got {}", (output / kCheckpoint).string(),
                             state.at("position").type_name()));
      ops::restore_product_choices(state.at("product_choices"));  // the same libraries round the same way
      REID_CHECK(state.at("tensors").get<std::size_t>() == resume_from_->tensors.size(), CheckpointError,
                 fmt::format("{}: checkpoint must hold {} tensors, got {}", (output / kCheckpoint).string(),
                             state.at("tensors").get<std::size_t>(), resume_from_->tensors.size()));
      check_same(state.at("config"), output / kCheckpoint, "the checkpoint's own");
    } catch (const Json::exception& problem) {
      throw CheckpointError(fmt::format("{}: state must be whole, got a damaged one ({})",
                                        (output / kCheckpoint).string(), problem.what()));
    }
    REID_CHECK(first_stage < experiment_.stages.size() && log_bytes >= 0, CheckpointError,
               fmt::format("{}: stage must be one of {}, got {}", (output / kCheckpoint).string(),
                           experiment_.stages.size(), first_stage));
    make_stage(first_stage)->restore(resume_from_->tensors, resume_from_->state.at("position"),
                                     (output / kCheckpoint).string());
  }
  make_model(resuming);  // afresh: the trial stages have drawn random numbers

  fs::create_directories(output, error);
  REID_CHECK(!error, WorkError, fmt::format("{}: folder must be makeable, got {}", output.string(), error.message()));
  const FolderLock lock(output);
  if (kept_.empty()) keep_files(*model_, output);
  if (!begun) write_file_atomic(output / kConfig, resolved_.dump(2) + "\n");
  write_file_atomic(output / kEnvironment, environment(options_.runtime).dump(2) + "\n");
  log_ = std::make_unique<LogFile>(output / kLog, log_bytes);
  if (!experiment_.data.cache.empty()) {
    std::vector<std::string> paths;
    for (const auto& sample : data_.samples) paths.push_back(sample.path);
    decoder_ = data::PackedCache(experiment_.data.cache, paths, catalogue_.decoder, options_.runtime.threads,
                                 options_.progress)
                   .decoder();
  }

  take_over();
  for (std::size_t i = first_stage; i < experiment_.stages.size(); ++i) {
    const bool more = i + 1 < experiment_.stages.size();
    if (!run_stage(i) || (more && options_.stop && options_.stop())) {
      return {false, Json{{"finished", false}, {"stage", experiment_.stages[i].name}, {"steps", steps_},
                          {"checkpoint", (output / kCheckpoint).string()}}};
    }
  }
  return finish();
}

}  // namespace

std::vector<Json> read_json_lines(const fs::path& path) {
  std::vector<Json> result;
  std::istringstream lines(read_file(path));
  for (std::string text; std::getline(lines, text);) {
    result.push_back(parse_json(text, fmt::format("{}, line {}", path.string(), result.size() + 1)));
  }
  return result;
}

StageFiles stage_files(const fs::path& run, const std::string& stage) {
  return {run / fmt::format("stage-{}.safetensors", stage), run / fmt::format("stage-{}.objective.safetensors", stage)};
}

std::size_t stages_in_common(const Experiment& given, const fs::path& run, const Catalogue& catalogue) {
  std::error_code error;
  if (given.stages.size() < 2 || !fs::exists(run / kConfig, error)) return 0;
  auto experiment = given;
  auto other = resolve_experiment(read_experiment(read_json_file(run / kConfig), catalogue));
  if (!match_files(kept_files(run), experiment.model, other.at("model")).empty()) return 0;
  auto own = resolve_experiment(experiment);
  const auto own_stages = own.at("stages"), other_stages = other.at("stages"), other_model = other.at("model");
  for (Json* json : {&own, &other}) {
    json->erase("stages");
    json->erase("model");
  }
  if (!first_difference(other, own).empty()) return 0;
  std::size_t count = 0;
  while (count + 1 < std::min(own_stages.size(), other_stages.size()) && own_stages[count] == other_stages[count]) {
    const auto files = stage_files(run, own_stages[count].at("name").get<std::string>());
    if (!fs::exists(files.model, error) || !fs::exists(files.objective, error)) break;
    ++count;
  }
  // Last, since a model must be made to know its own defaults.
  return count > 0 && nn::make_model(catalogue.models, experiment.model, "/model")->spec() == other_model ? count : 0;
}

RunSummary train_experiment(const Experiment& experiment, const Catalogue& catalogue, const RunOptions& options) {
  return Run(experiment, catalogue, options).execute();
}

std::shared_ptr<nn::Model> open_model(const Json& model, const fs::path& weights, const Catalogue& catalogue) {
  auto made = nn::make_model(catalogue.models, model, "/model");
  if (!weights.empty()) {
    const auto file = nn::read_weights(weights);
    nn::load_state(*made, file.tensors, made->layouts(), weights.string());
  }
  made->eval();
  return made;
}

Experiment experiment_of_run(const fs::path& run, const Catalogue& catalogue) {
  std::error_code error;
  REID_CHECK(fs::exists(run / kConfig, error), InputError,
             fmt::format("{}: folder must be a training run, got one without {}", run.string(), kConfig));
  auto experiment = read_experiment(read_json_file(run / kConfig), catalogue);
  use_copies(kept_files(run), experiment.model);
  return experiment;
}

std::shared_ptr<nn::Model> open_run(const fs::path& run, const Catalogue& catalogue) {
  const auto experiment = experiment_of_run(run, catalogue);
  std::error_code error;
  REID_CHECK(fs::exists(run / kDone, error) && fs::exists(run / kModel, error), InputError,
             fmt::format("{}: run must be complete, got one that isn't (continue it with reid train --resume)", run.string()));
  return open_model(experiment.model, run / kModel, catalogue);
}

}  // namespace reid::engine
