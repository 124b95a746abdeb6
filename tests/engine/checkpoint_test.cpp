// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/checkpoint.hpp"

#include <sys/resource.h>
#include <torch/torch.h>

#include <csignal>
#include <filesystem>

#include "reid/core/error.hpp"
#include "support.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using engine::Checkpoint;
using test::TempDir;
using test::World;

namespace {

Checkpoint example() {
  Checkpoint checkpoint;
  checkpoint.tensors["model.w"] = torch::arange(6, torch::kFloat32).view({2, 3});
  checkpoint.tensors["model.n"] = torch::tensor(7, torch::kInt64);
  checkpoint.tensors["random.cpu"] = torch::arange(5, torch::kUInt8);
  checkpoint.state = Json{{"position", {{"epoch", 3}, {"total", 0.1}}}, {"text", "\"quoted\" \u00e9"}};
  return checkpoint;
}

int64_t entries(const std::filesystem::path& path) {
  return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
}

/// No file of this process may grow beyond `bytes` while this lives: what a full disk looks like to a writer.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) {
    former_signal_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &former_);
    rlimit limit = former_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &former_);
    std::signal(SIGXFSZ, former_signal_);
  }

 private:
  rlimit former_{};
  void (*former_signal_)(int) = SIG_DFL;
};

}  // namespace

TEST_CASE("a checkpoint comes back as it was", "[engine]") {
  const TempDir dir;
  const auto written = example();
  engine::save_checkpoint(dir / "c.safetensors", written);
  const auto read = engine::load_checkpoint(dir / "c.safetensors");
  REQUIRE(read.state == written.state);
  REQUIRE(read.tensors.size() == 3);
  for (const auto& [name, tensor] : written.tensors) {
    REQUIRE(read.tensors.at(name).scalar_type() == tensor.scalar_type());
    REQUIRE(torch::equal(read.tensors.at(name), tensor));
  }
}

TEST_CASE("a checkpoint cut anywhere, or of another kind, is refused", "[engine]") {
  const TempDir dir;
  engine::save_checkpoint(dir / "c.safetensors", example());
  const auto bytes = read_file(dir / "c.safetensors");
  for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 9) {
    write_file_atomic(dir / "cut.safetensors", bytes.substr(0, size));
    REQUIRE_THROWS_AS(engine::load_checkpoint(dir / "cut.safetensors"), CheckpointError);
  }
  nn::write_safetensors(dir / "w.safetensors", example().tensors);
  REQUIRE_THROWS_WITH(engine::load_checkpoint(dir / "w.safetensors"), Contains("w.safetensors") && Contains("training checkpoint"));
  nn::write_safetensors(dir / "s.safetensors", example().tensors, {{"format", "reid-checkpoint-1"}, {"state", "{\"a\":"}});
  REQUIRE_THROWS_AS(engine::load_checkpoint(dir / "s.safetensors"), CheckpointError);
}

TEST_CASE("tensors of another model are refused and nothing is changed", "[engine]") {
  test::TinyModel model({});
  const auto before = engine::fingerprint_of(nn::state_of(model));
  auto tensors = nn::state_of(model);
  for (auto& [name, tensor] : tensors) tensor = torch::ones_like(tensor);
  auto missing = tensors;
  missing.erase("conv.weight");
  REQUIRE_THROWS_WITH(engine::restore_module(model, missing, "file"), Contains("file") && Contains("conv.weight is missing"));
  auto extra = tensors;
  extra["more"] = torch::zeros({1});
  REQUIRE_THROWS_WITH(engine::restore_module(model, extra, "file"), Contains("more is unexpected"));
  auto shaped = tensors;
  shaped["conv.weight"] = torch::zeros({2, 2});
  REQUIRE_THROWS_WITH(engine::restore_module(model, shaped, "file"), Contains("conv.weight is [2, 2]"));
  REQUIRE(engine::fingerprint_of(nn::state_of(model)) == before);
  engine::restore_module(model, tensors, "file");
  REQUIRE(model.named_parameters()["conv.weight"].min().item<double>() == 1);
}

TEST_CASE("a fingerprint sees names, shapes and values", "[engine]") {
  const nn::StateDict a{{"x", torch::zeros({2, 3})}};
  REQUIRE(engine::fingerprint_of(a) == engine::fingerprint_of({{"x", torch::zeros({2, 3})}}));
  REQUIRE(engine::fingerprint_of(a) != engine::fingerprint_of({{"y", torch::zeros({2, 3})}}));
  REQUIRE(engine::fingerprint_of(a) != engine::fingerprint_of({{"x", torch::zeros({3, 2})}}));
  REQUIRE(engine::fingerprint_of(a) != engine::fingerprint_of({{"x", torch::ones({2, 3})}}));
}

TEST_CASE("a disk that is full while saving keeps the old checkpoint and says so", "[engine]") {
  const TempDir dir;
  engine::save_checkpoint(dir / "c.safetensors", example());
  auto big = example();
  big.tensors["model.big"] = torch::zeros({1 << 16});
  {
    const SmallDisk small(20000);
    try {
      engine::save_checkpoint(dir / "c.safetensors", big);
      FAIL("must not be saved");
    } catch (const WorkError& error) {
      REQUIRE_THAT(error.what(), Contains("c.safetensors"));
      REQUIRE(error.exit_code() == 1);
    }
  }
  REQUIRE(entries(dir.path()) == 1);
  REQUIRE(engine::load_checkpoint(dir / "c.safetensors").tensors.size() == 3);
}

TEST_CASE("a run whose disk fills up can be resumed from its last checkpoint", "[engine]") {
  const World world;
  const TempDir dir;
  const auto experiment = test::small_experiment(3);
  test::train(world, experiment, test::run_options(dir / "whole"));
  auto options = test::run_options(dir / "run");
  options.stop = [n = 0]() mutable { return ++n >= 4; };  // epoch 1, one step
  test::train(world, experiment, options);
  {
    const SmallDisk small(6000);
    REQUIRE_THROWS_AS(test::train(world, experiment, test::run_options(dir / "run", true)), WorkError);
  }
  REQUIRE(test::train(world, experiment, test::run_options(dir / "run", true)).json ==
          parse_json(read_file(dir / "whole/done.json"), "done.json"));
}

TEST_CASE("a damaged checkpoint is refused by resume, and the run's folder is left alone", "[engine]") {
  const World world;
  const TempDir dir;
  const auto experiment = test::small_experiment(3);
  auto options = test::run_options(dir / "run");
  options.stop = [n = 0]() mutable { return ++n >= 4; };
  test::train(world, experiment, options);
  const auto path = dir / "run/checkpoint.safetensors";
  const auto bytes = read_file(path);
  const auto log = read_file(dir / "run/log.jsonl");
  write_file_atomic(path, bytes.substr(0, bytes.size() / 2));
  REQUIRE_THROWS_AS(test::train(world, experiment, test::run_options(dir / "run", true)), CheckpointError);
  for (const std::string prefix : {"objective.", "optimizer.model.conv", "random."}) {
    write_file_atomic(path, bytes);
    auto checkpoint = engine::load_checkpoint(path);
    std::erase_if(checkpoint.tensors, [&](const auto& item) { return item.first.rfind(prefix, 0) == 0; });
    engine::save_checkpoint(path, checkpoint);
    INFO(prefix);
    REQUIRE_THROWS_AS(test::train(world, experiment, test::run_options(dir / "run", true)), CheckpointError);
  }
  for (const char* key : {"position", "stage", "best", "log_bytes"}) {
    write_file_atomic(path, bytes);
    auto checkpoint = engine::load_checkpoint(path);
    checkpoint.state.erase(key);
    engine::save_checkpoint(path, checkpoint);
    INFO(key);
    REQUIRE_THROWS_AS(test::train(world, experiment, test::run_options(dir / "run", true)), CheckpointError);
  }
  // One bit of a tensor's value.
  auto flipped = bytes;
  flipped[flipped.size() - 3] = static_cast<char>(flipped[flipped.size() - 3] ^ 4);
  write_file_atomic(path, flipped);
  REQUIRE_THROWS_WITH(test::train(world, experiment, test::run_options(dir / "run", true)),
                      Catch::Matchers::Contains("checkpoint.safetensors: tensors must be as they were written"));
  // A position that is there, but damaged: found before the log is cut to where the checkpoint has it.
  write_file_atomic(dir / "run/log.jsonl", log + "{}\n");
  write_file_atomic(path, bytes);
  auto checkpoint = engine::load_checkpoint(path);
  checkpoint.state["position"].erase("epoch");
  engine::save_checkpoint(path, checkpoint);
  REQUIRE_THROWS_AS(test::train(world, experiment, test::run_options(dir / "run", true)), CheckpointError);
  REQUIRE(read_file(dir / "run/log.jsonl") == log + "{}\n");
}
