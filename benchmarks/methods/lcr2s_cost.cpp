// SPDX-License-Identifier: Apache-2.0
// What training LCR2S costs: seconds and peak memory of a training step of the dual-encoder baseline, of the teacher with M
// supporting samples (with and without gradient through them) and of the student, whose frozen teacher looks at the support
// too. The limits beside them: the student's against the baseline's, the teacher's against 1 + M passes of the baseline's encoders.
// One program, one table; the variants take turns, medians are printed.
//
//   bench_lcr2s_cost [--threads N] [--repeats N] [--image NAME] [--height 384] [--width 128] [--text NAME] [--tuned]
//                    [--batch 8] [--members 3] [--json FILE]
//
// Memory is the peak resident size of a child process that makes one training step, less that of a child that makes
// the same networks only. The children tell it themselves (VmHWM).
#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <iostream>

#include "measure.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/core/memory.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"

namespace {

using namespace reid;
using bench::child_peak, bench::median, bench::peak_megabytes, bench::seconds;

constexpr int64_t kLength = 64, kWords = 30522;

struct Settings {
  int64_t threads = 2, repeats = 3, height = 384, width = 128, batch = 8, members = 3;
  std::string image = "resnet50", text = "bert_base", json, child;
  bool tuned = false, child_trains = false;
};

enum class Kind { baseline, teacher, teacher_no_grad, student };

struct Variant {
  std::string name;
  Kind kind;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all{{"baseline", Kind::baseline},
                                        {"teacher", Kind::teacher},
                                        {"teacher,support_no_grad", Kind::teacher_no_grad},
                                        {"student", Kind::student}};
  return all;
}

std::shared_ptr<nn::Model> make_network(const Settings& settings) {
  torch::manual_seed(0);
  return nn::make_model(
      models::registry(),
      {{"name", "dual_encoder"},
       {"image",
        {{"name", settings.image}, {"preprocess", {{"height", settings.height}, {"width", settings.width}}}}},
       {"text", {{"encoder", settings.text}, {"head", "text_cnn"}, {"length", kLength}, {"frozen", !settings.tuned}}}});
}

/// One batch, trained on again and again.
class Training {
 public:
  Training(const Settings& settings, Kind kind) : model_(make_network(settings)) {
    nn::TrainingFacts facts{1000, 2, 10000};
    const auto objective = [&](const Json& spec, nn::Model& model) {
      return losses::objectives().create(spec, "/objective", model, facts);
    };
    const Json teacher{{"name", "lcr2s_teacher"}, {"support_no_grad", kind == Kind::teacher_no_grad}};
    if (kind == Kind::student) {
      facts.previous = [&] {
        const auto before = make_network(settings);
        return nn::StageResult{before, objective(teacher, *before)};
      };
      objective_ = objective({{"name", "lcr2s_student"}}, *model_);
    } else {
      objective_ = objective(kind == Kind::baseline ? Json{{"name", "image_text"}} : teacher, *model_);
    }
    const int64_t n = settings.batch, m = kind == Kind::baseline ? 0 : settings.members;
    batch_.images = torch::randn({n, 3, settings.height, settings.width});
    batch_.tokens = torch::randint(1, kWords, {n, kLength}, torch::kInt64);
    batch_.mask = torch::ones({n, kLength}, torch::kBool);
    batch_.identities = torch::arange(n);
    batch_.index = torch::arange(n);
    if (m > 0) {
      batch_.support_images = torch::randn({n, m, 3, settings.height, settings.width});
      batch_.support_tokens = torch::randint(1, kWords, {n, m, kLength}, torch::kInt64);
      batch_.support_mask = torch::ones({n, m, kLength}, torch::kBool);
    }
    model_->train();
    objective_->train();
    std::vector<torch::Tensor> parameters;
    for (const auto& list : {model_->parameters(), objective_->parameters()}) {
      for (const auto& parameter : list) {
        if (parameter.requires_grad()) parameters.push_back(parameter);
      }
    }
    optimizer_ = std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(1e-5));
    progress_.steps_per_epoch = 1;
  }
  void step() {
    optimizer_->zero_grad();
    objective_->compute(*model_, batch_, progress_).total.backward();
    optimizer_->step();
  }

 private:
  std::shared_ptr<nn::Model> model_;
  std::shared_ptr<nn::Objective> objective_;
  Batch batch_;
  Progress progress_;
  std::unique_ptr<torch::optim::Adam> optimizer_;
};

double training_memory(const Settings& settings, const Variant& variant, bool trains) {
  return child_peak(fmt::format("--child {} {} {} --threads {} --image {} --text {} --height {} --width {} --batch {} --members {}",
                                variant.name, trains ? "--child-trains" : "", settings.tuned ? "--tuned" : "", settings.threads,
                                settings.image, settings.text, settings.height, settings.width, settings.batch, settings.members));
}

void run_child(const Settings& settings) {
  const auto variant = std::find_if(variants().begin(), variants().end(),
                                    [&](const Variant& v) { return v.name == settings.child; });
  REID_CHECK(variant != variants().end(), InputError,
             fmt::format("lcr2s_cost: child must name a variant, got '{}'", settings.child));
  Training training(settings, variant->kind);
  if (settings.child_trains) training.step();
  std::cout << peak_megabytes() << "\n";
}

Json measured(const Settings& settings) {
  std::vector<double> medians;
  std::vector<std::unique_ptr<Training>> trainings;
  for (const auto& variant : variants()) trainings.push_back(std::make_unique<Training>(settings, variant.kind));
  std::vector<std::vector<double>> times(variants().size());
  for (int64_t round = -1; round < settings.repeats; ++round) {
    for (std::size_t i = 0; i < trainings.size(); ++i) {
      const double t = seconds([&] { trainings[i]->step(); });
      if (round >= 0) times[i].push_back(t);
    }
  }
  trainings.clear();
  const double passes = static_cast<double>(1 + settings.members);
  std::cout << fmt::format("{:<26}{:>9} {:>12}{:>20} {:>10}\n", "", "seconds", "/baseline",
                           fmt::format("/{} x baseline", 1 + settings.members), "peak MB");
  Json rows = Json::array();
  double first = 0;
  for (std::size_t i = 0; i < variants().size(); ++i) {
    const double time = median(times[i]);
    if (i == 0) first = time;
    const double memory = training_memory(settings, variants()[i], true) - training_memory(settings, variants()[i], false);
    std::cout << fmt::format("{:<26}{:>9.3f} {:>11.3f}x{:>19.3f}x {:>10.0f}\n", variants()[i].name, time, time / first,
                             time / (passes * first), memory);
    rows.push_back({{"variant", variants()[i].name}, {"seconds", time}, {"peak_mb", memory}});
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("What training LCR2S costs beside its baseline");
  app.add_option("--threads", settings.threads, "number of threads")->capture_default_str();
  app.add_option("--repeats", settings.repeats, "rounds")->capture_default_str();
  app.add_option("--image", settings.image, "encoder of pictures")->capture_default_str();
  app.add_option("--height", settings.height, "of a picture")->capture_default_str();
  app.add_option("--width", settings.width, "of a picture")->capture_default_str();
  app.add_option("--text", settings.text, "encoder of sentences, of 64 tokens")->capture_default_str();
  app.add_flag("--tuned", settings.tuned, "the encoder of sentences learns, too");
  app.add_option("--batch", settings.batch, "pairs of a step")->capture_default_str();
  app.add_option("--members", settings.members, "supporting samples")->capture_default_str();
  app.add_option("--json", settings.json, "write the figures to this file");
  app.add_option("--child", settings.child)->group("");
  app.add_flag("--child-trains", settings.child_trains)->group("");
  CLI11_PARSE(app, argc, argv);
  try {
    at::set_num_threads(static_cast<int>(settings.threads));
    if (!settings.child.empty()) {
      run_child(settings);
      return 0;
    }
    keep_freed_memory();
    std::cout << std::unitbuf;
    std::cout << fmt::format("{} at {}x{}, {} {}, batch {}, {} supporting samples, {} threads, Adam, medians\n", settings.image,
                             settings.height, settings.width, settings.text, settings.tuned ? "tuned" : "frozen",
                             settings.batch, settings.members, settings.threads);
    const Json rows = measured(settings);
    if (!settings.json.empty()) write_file_atomic(settings.json, rows.dump(2) + "\n");
    return 0;
  } catch (const Error& error) {
    std::cerr << "bench_lcr2s_cost: " << error.what() << "\n";
    return error.exit_code();
  }
}
