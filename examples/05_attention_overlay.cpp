// SPDX-License-Identifier: Apache-2.0
// Purpose: where a vision transformer looks. A sheet of four pictures, left to right: the query; the encoder's attention
// roll-out over it; and the attention of its class token, in the cross block that the objective x_reid trains, over a
// picture of the same person and over one of another, both under one softmax and on one scale.
//
// Command (after a training with x_reid, InterX on):
//   build/release/examples/05_attention_overlay runs/x_reid/checkpoint.safetensors QUERY POSITIVE NEGATIVE sheet.ppm
//
// Expected output (0.5 each: untrained):
//   attention to the positive 0.61, to the negative 0.39
//   256x512 pixels written to sheet.ppm
#include <torch/torch.h>

#include <cstdio>
#include <string>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/data/resize.hpp"
#include "reid/datasets/image_io.hpp"
#include "reid/engine/checkpoint.hpp"
#include "reid/losses/x_reid.hpp"
#include "reid/models/registry.hpp"

namespace {

using torch::Tensor;

/// [H, W, 3] uint8 of the network's size.
Tensor read_picture(const std::string& path, const reid::PreprocessOptions& size) {
  return reid::data::resize(reid::datasets::decode_image(path), size.height, size.width, size.filter, size.passes);
}

/// What the network takes: [1, 3, H, W].
Tensor normalised(const Tensor& picture, const reid::PreprocessOptions& options) {
  const auto mean = torch::tensor(std::vector<double>(options.mean.begin(), options.mean.end()), torch::kFloat32);
  const auto spread = torch::tensor(std::vector<double>(options.std.begin(), options.std.end()), torch::kFloat32);
  return ((picture.to(torch::kFloat32) / 255 - mean) / spread).permute({2, 0, 1}).unsqueeze(0).contiguous();
}

/// A map [h, w] in 0..1 in red over a picture [H, W, 3].
Tensor overlay(const Tensor& picture, const Tensor& map) {
  const auto large = torch::upsample_bilinear2d(map.unsqueeze(0).unsqueeze(0), {picture.size(0), picture.size(1)}, false);
  const auto share = 0.7 * large.squeeze(0).squeeze(0).unsqueeze(2);
  const auto red = torch::tensor({255.F, 0.F, 0.F});
  return (picture * (1 - share) + red * share).round().clamp(0, 255).to(torch::kUInt8);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: %s CHECKPOINT QUERY POSITIVE NEGATIVE SHEET.ppm\n", argv[0]);
    return 2;
  }
  try {
    const torch::NoGradGuard no_grad;
    const std::string path = argv[1];
    const auto checkpoint = reid::engine::load_checkpoint(path);
    const auto& config = checkpoint.state.at("config");
    const auto model = reid::nn::make_model(reid::models::registry(), config.at("model"));
    reid::engine::restore_module(*model, reid::engine::with_prefix_removed(checkpoint.tensors, "model."), path);
    model->eval();

    // The cross block is the objective's: it isn't in the deployed weights.
    auto part = config.at("stages").back().at("objective");
    if (part.at("name") != "x_reid") {
      throw reid::InputError(path + ": objective must be 'x_reid', got " + part.at("name").dump());
    }
    part.erase("name");
    const auto options = reid::read_options<reid::losses::XReid::Options>(part, "/objective");
    const auto& encoder = reid::losses::encoder_of(*model, "/model");
    reid::losses::CrossBlock cross(encoder, options.start, options.depth);
    if (options.start != reid::losses::CrossStart::encoder) {
      auto weights = reid::engine::with_prefix_removed(checkpoint.tensors, "objective.cross_inter.");
      if (weights.empty()) weights = reid::engine::with_prefix_removed(checkpoint.tensors, "objective.cross.");
      reid::engine::restore_module(cross, weights, path);
    }

    const auto& size = model->preprocess();
    std::vector<Tensor> pictures, images;
    for (int i = 2; i < 5; ++i) {
      pictures.push_back(read_picture(argv[i], size));
      images.push_back(normalised(pictures.back(), size));
    }
    const auto output = model->encode_image(torch::cat(images), reid::nn::want_tokens | reid::nn::want_maps);
    auto tokens = output.tokens;
    if (options.tokens == reid::losses::TokenPlace::after_norm) tokens = encoder.final_norm()->forward(tokens);
    const auto rollout = output.maps.at(0)[0][0];  // [h, w]
    const auto attention = cross.forward(tokens, cross.project(tokens), torch::tensor({0}, torch::kInt64),
                                         torch::tensor({{1, 2}}, torch::kInt64), {}, reid::losses::CrossBlock::Attention::cls);
    const auto maps = attention.map[0][0].narrow(1, 1, rollout.numel()).view({2, rollout.size(0), rollout.size(1)});
    const auto scaled = maps / maps.max();

    const auto sheet = torch::cat({pictures[0], overlay(pictures[0], rollout), overlay(pictures[1], scaled[0]),
                                   overlay(pictures[2], scaled[1])}, 1).contiguous();
    std::string file = "P6\n" + std::to_string(sheet.size(1)) + " " + std::to_string(sheet.size(0)) + "\n255\n";
    file.append(static_cast<const char*>(sheet.data_ptr()), static_cast<std::size_t>(sheet.numel()));
    reid::write_file_atomic(argv[5], file);
    std::printf("attention to the positive %.2f, to the negative %.2f\n", attention.response[0][0].item<double>(),
                attention.response[0][1].item<double>());
    std::printf("%ldx%ld pixels written to %s\n", sheet.size(0), sheet.size(1), argv[5]);
    return 0;
  } catch (const reid::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
