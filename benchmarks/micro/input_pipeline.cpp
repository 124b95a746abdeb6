// SPDX-License-Identifier: Apache-2.0
// Training input: pictures a second from JPEG files to batches, whole recipe, beside the limit that the JPEG library
// sets (decoding alone, same threads).
//   micro_input_pipeline FOLDER [--threads 2] [--seconds 5] [--height 256] [--width 128] [--cache FILE]
// FOLDER: *.jpg, such as Market-1501's bounding_box_train. The peer: benchmarks/peers/input_pipeline_torch.py.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/data/cache.hpp"
#include "reid/data/loader.hpp"
#include "reid/data/transforms.hpp"
#include "reid/datasets/image_io.hpp"

namespace {

using namespace reid;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Decoding alone, `threads` at once, round and round over the list.
double decode_rate(const std::vector<std::string>& paths, const data::Decoder& decoder, int64_t threads, double seconds) {
  std::atomic<std::size_t> next = 0;
  std::atomic<int64_t> done = 0;
  const auto start = Clock::now();
  std::vector<std::thread> workers;
  for (int64_t i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      while (since(start) < seconds) {
        for (int k = 0; k < 16; ++k) decoder(paths[next++ % paths.size()]);
        done += 16;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  return static_cast<double>(done) / since(start);
}

double loader_rate(const std::vector<std::string>& paths, const data::Decoder& decoder, const PreprocessOptions& size,
                   const Json& augment, int64_t threads, double seconds) {
  std::vector<Sample> samples;
  for (const auto& path : paths) samples.push_back({path, 0, 0, -1, {}});
  data::Loader loader(samples, {}, decoder, data::training_transform(size, augment), size.height, size.width,
                      {threads, 4, false});
  std::vector<int64_t> order(paths.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  int64_t done = 0;
  Clock::time_point start;
  for (int64_t epoch = 0;; ++epoch) {
    Random random({static_cast<uint64_t>(epoch)});
    random.shuffle(order);
    std::vector<std::vector<int64_t>> batches;
    for (std::size_t i = 0; i + 64 <= order.size(); i += 64) {
      batches.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(i), order.begin() + static_cast<std::ptrdiff_t>(i) + 64);
    }
    loader.start(std::move(batches), 0, epoch);
    int64_t seen = 0;
    while (const auto batch = loader.next()) {
      if (epoch == 0 && ++seen == 8) start = Clock::now();  // warm: buffers exist, files are in the page cache
      if (epoch > 0 || seen > 8) {
        done += batch->size();
        if (since(start) >= seconds) return static_cast<double>(done) / since(start);
      }
    }
  }
}

int run(const std::vector<std::string>& arguments) {
  std::string folder, cache_file;
  int64_t threads = 2;
  double seconds = 5;
  PreprocessOptions size;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    if (argument.rfind("--", 0) != 0) {
      folder = argument;
      continue;
    }
    if (i + 1 == arguments.size()) throw InputError(argument + ": a value must follow, got none");
    const auto& value = arguments[++i];
    if (argument == "--threads") {
      threads = std::stoll(value);
    } else if (argument == "--seconds") {
      seconds = std::stod(value);
    } else if (argument == "--height") {
      size.height = std::stoll(value);
    } else if (argument == "--width") {
      size.width = std::stoll(value);
    } else if (argument == "--cache") {
      cache_file = value;
    } else {
      throw InputError("option must be --threads, --seconds, --height, --width or --cache, got " + argument);
    }
  }
  if (!std::filesystem::is_directory(folder)) {
    throw InputError(fmt::format("micro_input_pipeline: a folder of .jpg files must be given, got '{}'", folder));
  }
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".jpg") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  if (paths.size() < 1024) throw InputError(fmt::format("{}: pictures must be at least 1024, got {}", folder, paths.size()));
  const Json bot = Json::parse(R"([{"name": "flip"}, {"name": "pad_crop"}, {"name": "random_erasing"}])");
  const Json rga = Json::parse(R"([{"name": "rga_crop"}, {"name": "flip"}, {"name": "random_erasing"}])");
  fmt::print("{} pictures, {} threads, to {} x {}\n", paths.size(), threads, size.height, size.width);
  decode_rate(paths, datasets::decode_image, threads, std::min(seconds, 2.0));  // files into the page cache
  const double limit = decode_rate(paths, datasets::decode_image, threads, seconds);
  fmt::print("{:<58}{:>9.0f} pictures/s\n", "decode alone (limit)", limit);
  const auto show = [&](const char* what, const data::Decoder& decoder, const Json& augment) {
    const double rate = loader_rate(paths, decoder, size, augment, threads, seconds);
    fmt::print("{:<58}{:>9.0f} pictures/s  {:.2f} of the limit\n", what, rate, rate / limit);
  };
  show("decode, resize, normalise", datasets::decode_image, Json::array());
  show("decode, resize, flip, pad and crop, normalise, erase", datasets::decode_image, bot);
  show("decode, RGA's resize and crop, flip, normalise, erase", datasets::decode_image, rga);
  if (!cache_file.empty()) {
    const data::PackedCache cache(cache_file, paths, datasets::decode_image, threads);
    show("packed cache, resize, flip, pad and crop, normalise, erase", cache.decoder(), bot);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(std::vector<std::string>(argv, argv + argc));
  } catch (const reid::Error& error) {
    std::cerr << "error: " << error.what() << "\n";
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  }
}
