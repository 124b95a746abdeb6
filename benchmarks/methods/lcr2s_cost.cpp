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
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <iostream>

#include "measure.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"
#include "training.hpp"

namespace {

using namespace reid;
using bench::child_peak, bench::Training;

constexpr int64_t kLength = 64, kWords = 30522;

struct Settings : bench::Program {
  int64_t height = 384, width = 128, batch = 8, members = 3;
  std::string image = "resnet50", text = "bert_base";
  bool tuned = false;
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

std::shared_ptr<Training> make_training(const Settings& settings, Kind kind) {
  const auto model = make_network(settings);
  nn::TrainingFacts facts{1000, 2, 10000};
  const auto make = [&](const Json& spec, nn::Model& of) {
    return losses::objectives().create(spec, "/objective", of, facts);
  };
  const Json teacher{{"name", "lcr2s_teacher"}, {"support_no_grad", kind == Kind::teacher_no_grad}};
  std::shared_ptr<nn::Objective> objective;
  if (kind == Kind::student) {
    facts.previous = [&] {
      const auto before = make_network(settings);
      return nn::StageResult{before, make(teacher, *before)};
    };
    objective = make({{"name", "lcr2s_student"}}, *model);
  } else {
    objective = make(kind == Kind::baseline ? Json{{"name", "image_text"}} : teacher, *model);
  }
  const int64_t n = settings.batch, m = kind == Kind::baseline ? 0 : settings.members;
  Batch batch;
  batch.images = torch::randn({n, 3, settings.height, settings.width});
  batch.tokens = torch::randint(1, kWords, {n, kLength}, torch::kInt64);
  batch.mask = torch::ones({n, kLength}, torch::kBool);
  batch.identities = torch::arange(n);
  batch.index = torch::arange(n);
  if (m > 0) {
    batch.support_images = torch::randn({n, m, 3, settings.height, settings.width});
    batch.support_tokens = torch::randint(1, kWords, {n, m, kLength}, torch::kInt64);
    batch.support_mask = torch::ones({n, m, kLength}, torch::kBool);
  }
  return std::make_shared<Training>(model, objective, batch, 0, [](std::vector<torch::Tensor> parameters) {
    return std::make_unique<torch::optim::Adam>(std::move(parameters), torch::optim::AdamOptions(1e-5));
  });
}

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
  const auto training = make_training(settings, variant->kind);
  if (settings.child_trains) training->step();
}

Json measured(const Settings& settings) {
  std::cout << fmt::format("{} at {}x{}, {} {}, batch {}, {} supporting samples, {} threads, Adam, medians\n", settings.image,
                           settings.height, settings.width, settings.text, settings.tuned ? "tuned" : "frozen",
                           settings.batch, settings.members, settings.threads);
  std::vector<std::pair<std::string, std::function<void()>>> works;
  for (const auto& variant : variants()) {
    works.emplace_back(variant.name, [run = make_training(settings, variant.kind)] { run->step(); });
  }
  const auto times = bench::medians(settings.repeats, works);
  works.clear();
  const double passes = static_cast<double>(1 + settings.members);
  std::cout << fmt::format("{:<26}{:>9} {:>12}{:>20} {:>10}\n", "", "seconds", "/baseline",
                           fmt::format("/{} x baseline", 1 + settings.members), "peak MB");
  Json rows = Json::array();
  const double first = times.at(variants().front().name);
  for (const auto& variant : variants()) {
    const double time = times.at(variant.name);
    const double memory = training_memory(settings, variant, true) - training_memory(settings, variant, false);
    std::cout << fmt::format("{:<26}{:>9.3f} {:>11.3f}x{:>19.3f}x {:>10.0f}\n", variant.name, time, time / first,
                             time / (passes * first), memory);
    rows.push_back({{"variant", variant.name}, {"seconds", time}, {"peak_mb", memory}});
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("What training LCR2S costs beside its baseline");
  settings.add_to(app);
  app.add_option("--image", settings.image, "encoder of pictures")->capture_default_str();
  app.add_option("--height", settings.height, "of a picture")->capture_default_str();
  app.add_option("--width", settings.width, "of a picture")->capture_default_str();
  app.add_option("--text", settings.text, "encoder of sentences, of 64 tokens")->capture_default_str();
  app.add_flag("--tuned", settings.tuned, "the encoder of sentences learns, too");
  app.add_option("--batch", settings.batch, "pairs of a step")->capture_default_str();
  app.add_option("--members", settings.members, "supporting samples")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return settings.run("bench_lcr2s_cost", [&] { run_child(settings); }, [&] { return measured(settings); });
}
