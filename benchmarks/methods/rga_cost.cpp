// SPDX-License-Identifier: Apache-2.0
// What RGA costs beside its plain body: pictures per second in inference, seconds and peak memory of a training step,
// dense against factored relation. One program, one table; the variants take turns, medians are printed.
//
//   bench_rga_cost [--threads N] [--repeats N] [--height H --width W] [--body NAME] [--batches 1,8,32]
//                       [--train-batch 16] [--no-bf16] [--json FILE]
//
// Memory is the peak resident size of a child process that makes one training step, less that of a child that makes
// the same model and one forward pass of one picture. The children tell it themselves (VmHWM): what the system counts
// for a child begins at the size of its parent.
#include <fmt/format.h>
#include <torch/torch.h>

#include <functional>
#include <iostream>

#include "measure.hpp"
#include "reid/models/registry.hpp"
#include "reid/nn/blocks.hpp"

namespace {

using namespace reid;
using bench::child_peak, bench::medians;

struct Settings : bench::Program {
  Settings() { repeats = 5; }
  int64_t height = 256, width = 128, train_batch = 16;
  std::vector<int64_t> batches{1, 8, 32};
  std::string body = "resnet50";
  bool half = true;
};

const std::vector<std::string> kVariants{"plain", "rga_sc dense", "rga_sc factored"};

std::shared_ptr<nn::Model> make(const Settings& settings, const std::string& variant) {
  torch::manual_seed(0);
  const Json preprocess{{"height", settings.height}, {"width", settings.width}};
  Json part{{"name", settings.body}, {"preprocess", preprocess}};
  if (variant != "plain") {
    part = {{"name", "rga_sc"},
            {"body", settings.body},
            {"relation", variant == "rga_sc dense" ? "dense" : "factored"},
            {"preprocess", preprocess}};
  }
  return nn::make_model(models::registry(), part);
}

torch::Tensor pictures(const Settings& settings, int64_t n) {
  return torch::randn({n, 3, settings.height, settings.width});
}

/// A model with a classifier and an optimizer, to be trained by one batch again and again.
class Training {
 public:
  Training(const Settings& settings, const std::string& variant)
      : model_(make(settings, variant)),
        classifier_(torch::nn::LinearOptions(model_->embedding_size(), 751).bias(false)),
        images_(pictures(settings, settings.train_batch)),
        labels_(torch::arange(settings.train_batch)) {
    nn::use_channels_last(*model_);
    model_->train();
    auto parameters = model_->parameters();
    for (const auto& parameter : classifier_->parameters()) parameters.push_back(parameter);
    optimizer_ = std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(1e-4));
  }
  void step() {
    optimizer_->zero_grad();
    const auto logits = classifier_(model_->encode_image(images_, nn::want_neck).neck);
    torch::nn::functional::cross_entropy(logits, labels_).backward();
    optimizer_->step();
  }

 private:
  std::shared_ptr<nn::Model> model_;
  torch::nn::Linear classifier_;
  torch::Tensor images_, labels_;
  std::unique_ptr<torch::optim::Adam> optimizer_;
};

double training_memory(const Settings& settings, const std::string& variant, bool trains) {
  return child_peak(fmt::format("--child '{}' {} --threads {} --height {} --width {} --body {} --train-batch {}", variant,
                                trains ? "--child-trains" : "", settings.threads, settings.height, settings.width,
                                settings.body, settings.train_batch));
}

void run_child(const Settings& settings) {
  if (settings.child_trains) {
    Training training(settings, settings.child);
    training.step();
  } else {
    const torch::NoGradGuard no_grad;
    auto model = make(settings, settings.child);
    model->eval();
    model->embed(pictures(settings, 1));
  }
}

Json inference(const Settings& settings) {
  Json rows = Json::array();
  const torch::NoGradGuard no_grad;
  std::map<std::string, std::shared_ptr<nn::Model>> models;
  for (const auto& variant : kVariants) {
    models[variant] = make(settings, variant);
    models[variant]->fold_batch_norms();
    nn::use_channels_last(*models[variant]);
  }
  std::cout << fmt::format("\nInference, batch norms folded, channels-last: pictures per second\n{:>6} {:>9} {:>9} "
                           "{:>9} {:>15} {:>15}\n",
                           "batch", "plain", "dense", "factored", "factored/dense", "factored/plain");
  for (const int64_t batch : settings.batches) {
    const auto images = pictures(settings, batch);
    std::vector<std::pair<std::string, std::function<void()>>> works;
    for (const auto& variant : kVariants) {
      works.emplace_back(variant, [model = models[variant], images] { model->embed(images); });
    }
    const auto t = medians(batch == 1 ? 4 * settings.repeats : settings.repeats, works);
    const auto rate = [&](const std::string& variant) { return static_cast<double>(batch) / t.at(variant); };
    const double plain = rate(kVariants[0]), dense = rate(kVariants[1]), factored = rate(kVariants[2]);
    std::cout << fmt::format("{:>6} {:>9.1f} {:>9.1f} {:>9.1f} {:>14.2f}x {:>15.2f}\n", batch, plain, dense, factored,
                             factored / dense, factored / plain);
    rows.push_back({{"batch", batch}, {"plain", plain}, {"dense", dense}, {"factored", factored}});
  }
  return rows;
}

Json ways(const Settings& settings) {
  const torch::NoGradGuard no_grad;
  const int64_t batch = 8;
  const auto images = pictures(settings, batch);
  struct Way {
    std::string name;
    bool fold, last, half;
  };
  std::vector<std::pair<std::string, std::function<void()>>> works;
  std::vector<Way> all{{"as it is", false, false, false},
                       {"folded", true, false, false},
                       {"channels-last", false, true, false},
                       {"folded, channels-last", true, true, false}};
  if (settings.half) all.push_back({"folded, channels-last, bf16", true, true, true});
  for (const auto& way : all) {
    auto model = make(settings, "rga_sc factored");
    model->eval();
    if (way.fold) model->fold_batch_norms();
    if (way.last) nn::use_channels_last(*model);
    if (way.half) model->to(torch::kBFloat16);
    works.emplace_back(way.name, [model, images] { model->embed(images); });
  }
  const auto t = medians(settings.repeats, works);
  Json rows = Json::array();
  std::cout << fmt::format("\nRGA-SC factored, batch {}: pictures per second\n", batch);
  for (const auto& way : all) {
    const double rate = static_cast<double>(batch) / t.at(way.name);
    std::cout << fmt::format("  {:<28} {:>7.1f}  {:.2f}x\n", way.name, rate, t.at("as it is") / t.at(way.name));
    rows.push_back({{"way", way.name}, {"pictures_per_second", rate}});
  }
  return rows;
}

Json training(const Settings& settings) {
  std::vector<std::pair<std::string, std::function<void()>>> works;
  for (const auto& variant : kVariants) {
    works.emplace_back(variant, [run = std::make_shared<Training>(settings, variant)] { run->step(); });
  }
  const auto t = medians(std::max<int64_t>(1, settings.repeats / 2), works);
  works.clear();
  std::cout << fmt::format("\nTraining step, batch {}, channels-last, Adam\n{:<17} {:>9} {:>8} {:>12} {:>19}\n",
                           settings.train_batch, "", "seconds", "/plain", "peak MB", "beyond plain's, MB");
  Json rows = Json::array();
  double plain_memory = 0;
  for (const auto& variant : kVariants) {
    const double memory =
        training_memory(settings, variant, true) - training_memory(settings, variant, false);
    if (variant == "plain") plain_memory = memory;
    std::cout << fmt::format("{:<17} {:>9.3f} {:>7.2f}x {:>12.0f} {:>19.0f}\n", variant, t.at(variant),
                             t.at(variant) / t.at("plain"), memory, memory - plain_memory);
    rows.push_back({{"variant", variant}, {"seconds", t.at(variant)}, {"peak_mb", memory}});
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("What RGA costs beside its plain body");
  settings.add_to(app);
  app.add_option("--height", settings.height, "input height")->capture_default_str();
  app.add_option("--width", settings.width, "input width")->capture_default_str();
  app.add_option("--body", settings.body, "conv body")->capture_default_str();
  app.add_option("--batches", settings.batches, "inference batches")->delimiter(',')->capture_default_str();
  app.add_option("--train-batch", settings.train_batch, "batch of the training step; 0: none")->capture_default_str();
  app.add_flag("!--no-bf16", settings.half, "leave bf16 out: minutes on a processor without bf16 products");
  CLI11_PARSE(app, argc, argv);
  return settings.run("bench_rga_cost", [&] { run_child(settings); }, [&] {
    std::cout << fmt::format("{} at {}x{}, {} threads, medians of {} rounds\n", settings.body, settings.height,
                             settings.width, settings.threads, settings.repeats);
    Json result{{"body", settings.body},
                {"height", settings.height},
                {"width", settings.width},
                {"threads", settings.threads},
                {"inference", inference(settings)},
                {"ways", ways(settings)}};
    if (settings.train_batch > 0) result["training"] = training(settings);
    return result;
  });
}
