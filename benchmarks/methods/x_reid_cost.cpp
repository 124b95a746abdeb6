// SPDX-License-Identifier: Apache-2.0
// What training with the objective x_reid costs beside its baseline, the same vision transformer without cross
// attention: seconds and peak memory of a training step, and pictures per second of the deployed network, which is the
// same for both. One program, one table; the variants take turns, medians are printed.
//
//   bench_x_reid_cost [--threads N] [--repeats N] [--model NAME] [--stride N] [--identities 16] [--images 4]
//                     [--batches 1,8] [--bf16] [--json FILE]
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
#include "reid/ops/matmul.hpp"
#include "training.hpp"

namespace {

using namespace reid;
using bench::child_peak, bench::median, bench::seconds, bench::Training;

struct Settings : bench::Program {
  int64_t stride = 16, identities = 16, images = 4;
  std::vector<int64_t> batches{1, 8};
  std::string model = "vit_b16";
  bool half = false;
};

struct Variant {
  std::string name;
  Json objective;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all{{"baseline", {{"name", "x_reid"}, {"intra", "off"}, {"inter", "off"}}},
                                        {"IntraX", {{"name", "x_reid"}, {"inter", "off"}}},
                                        {"InterX", {{"name", "x_reid"}, {"intra", "off"}}},
                                        {"both", {{"name", "x_reid"}}}};
  return all;
}

std::shared_ptr<nn::Model> make_network(const Settings& settings) {
  torch::manual_seed(0);
  return nn::make_model(models::registry(), {{"name", settings.model}, {"stride", settings.stride}});
}

std::shared_ptr<Training> make_training(const Settings& settings, const Variant& variant) {
  const auto model = make_network(settings);
  const std::shared_ptr<nn::Objective> objective =
      losses::objectives().create(variant.objective, "/objective", *model, nn::TrainingFacts{751, 6});
  const auto n = settings.identities * settings.images;
  const auto& size = model->preprocess();
  Batch batch;
  batch.images = torch::randn({n, 3, size.height, size.width});
  batch.identities = torch::arange(n).div(settings.images, "floor");
  batch.index = torch::arange(n);
  constexpr int64_t kBehindTheRamp = 100;
  return std::make_shared<Training>(model, objective, batch, kBehindTheRamp, [](std::vector<torch::Tensor> parameters) {
    return std::make_unique<torch::optim::SGD>(std::move(parameters), torch::optim::SGDOptions(1e-4).momentum(0.9));
  });
}

double training_memory(const Settings& settings, const Variant& variant, bool trains) {
  return child_peak(fmt::format("--child {} {} --threads {} --model {} --stride {} --identities {} --images {}", variant.name,
                                trains ? "--child-trains" : "", settings.threads, settings.model, settings.stride,
                                settings.identities, settings.images));
}

void run_child(const Settings& settings) {
  const auto variant = std::find_if(variants().begin(), variants().end(),
                                    [&](const Variant& v) { return v.name == settings.child; });
  REID_CHECK(variant != variants().end(), InputError,
             fmt::format("x_reid_cost: child must name a variant, got '{}'", settings.child));
  const auto training = make_training(settings, *variant);
  if (settings.child_trains) training->step();
}

Json training(const Settings& settings) {
  Json rows = Json::array();
  std::cout << fmt::format("\nTraining step, {} x {} pictures, SGD\n{:<10} {:>9} {:>12} {:>10} {:>12}\n", settings.identities,
                           settings.images, "", "seconds", "/baseline", "peak MB", "/baseline");
  std::vector<std::pair<std::string, std::function<void()>>> works;
  for (const auto& variant : variants()) {
    works.emplace_back(variant.name, [run = make_training(settings, variant)] { run->step(); });
  }
  const auto times = bench::medians(settings.repeats, works);
  works.clear();
  double first_time = 0, first_memory = 0;
  for (std::size_t i = 0; i < variants().size(); ++i) {
    const auto& variant = variants()[i];
    const double time = times.at(variant.name);
    const double memory = training_memory(settings, variant, true) - training_memory(settings, variant, false);
    if (i == 0) {
      first_time = time;
      first_memory = memory;
    }
    std::cout << fmt::format("{:<10} {:>9.3f} {:>11.3f}x {:>10.0f} {:>11.3f}x\n", variant.name, time, time / first_time, memory,
                             memory / first_memory);
    rows.push_back({{"variant", variant.name}, {"seconds", time}, {"peak_mb", memory}});
  }
  return rows;
}

Json inference(const Settings& settings) {
  Json rows = Json::array();
  const torch::NoGradGuard no_grad;
  auto model = make_network(settings);
  model->eval();
  auto half = settings.half ? make_network(settings) : nullptr;
  if (half) {
    half->eval();
    half->to(torch::kBFloat16);
  }
  std::cout << "\nInference of the deployed network, which is the plain transformer: pictures per second\n";
  for (const int64_t batch : settings.batches) {
    const auto images = torch::randn({batch, 3, model->preprocess().height, model->preprocess().width});
    std::vector<double> full_times, half_times;
    for (int64_t round = -1; round < 3 * settings.repeats; ++round) {
      const double t = seconds([&] { model->embed(images); });
      const double h = half ? seconds([&] { half->embed(images); }) : 0;
      if (round < 0) continue;
      full_times.push_back(t);
      half_times.push_back(h);
    }
    const double rate = static_cast<double>(batch) / median(full_times);
    Json row{{"batch", batch}, {"pictures_per_second", rate}};
    std::cout << fmt::format("  batch {:>3}: {:>7.2f} float32", batch, rate);
    if (half) {
      const double half_rate = static_cast<double>(batch) / median(half_times);
      const auto cosine = torch::cosine_similarity(model->embed(images), half->embed(images).to(torch::kFloat32), 1);
      row["bf16"] = {{"pictures_per_second", half_rate}, {"cosine_min", cosine.min().item<double>()}};
      std::cout << fmt::format(", {:.2f} bf16 ({:.2f}x), smallest cosine {:.6f}", half_rate, half_rate / rate,
                               cosine.min().item<double>());
    }
    std::cout << "\n";
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("What training with x_reid costs beside its baseline");
  settings.add_to(app);
  app.add_option("--model", settings.model, "vision transformer on patches")->capture_default_str();
  app.add_option("--stride", settings.stride, "step between patches")->capture_default_str();
  app.add_option("--identities", settings.identities, "identities of a training batch; 0: no training")->capture_default_str();
  app.add_option("--images", settings.images, "images of each")->capture_default_str();
  app.add_option("--batches", settings.batches, "inference batches")->delimiter(',')->capture_default_str();
  app.add_flag("--bf16", settings.half, "inference in bf16, too");
  CLI11_PARSE(app, argc, argv);
  return settings.run("bench_x_reid_cost", [&] { run_child(settings); }, [&] {
    std::cout << fmt::format("{} at stride {}, {} threads, medians\n", settings.model, settings.stride, settings.threads);
    Json result{{"model", settings.model}, {"stride", settings.stride}, {"threads", settings.threads}};
    result["inference"] = inference(settings);
    if (settings.identities > 0) result["training"] = training(settings);
    result["products"] = ops::product_choices();
    return result;
  });
}
