// SPDX-License-Identifier: Apache-2.0
#include "fuzz/seeds.hpp"

#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include "reid/core/io.hpp"

namespace reid::fuzz {
namespace fs = std::filesystem;
namespace {

std::string little(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::vector<Seed> weight_seeds() {
  std::vector<Seed> seeds;
  for (const auto& entry : fs::directory_iterator(fs::path(REID_FIXTURES) / "weights")) {
    seeds.push_back({entry.path().filename().string(), read_file(entry.path())});
  }
  const auto safetensors = [&](const std::string& name, const std::string& header, std::size_t data) {
    seeds.push_back({name + ".safetensors", little(header.size(), 8) + header + std::string(data, '\x01')});
  };
  safetensors("empty", "{}", 0);
  safetensors("two",
              R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
              R"("b":{"dtype":"BOOL","shape":[3],"data_offsets":[16,19]}})",
              19);
  safetensors("unaligned",
              R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})",
              9);
  return seeds;
}

std::vector<Seed> npy_seeds() {
  const auto file = [](int version, const std::string& type, const std::string& shape, const std::string& order,
                       std::size_t data) {
    std::string header = "{'descr': '" + type + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
    const std::size_t prefix = version == 1 ? 10 : 12;
    header.resize((prefix + header.size() + 1 + 63) / 64 * 64 - prefix - 1, ' ');
    header += '\n';
    return std::string("\x93NUMPY") + little(static_cast<uint64_t>(version), 2) + little(header.size(), version == 1 ? 2 : 4) +
           header + std::string(data, '\0');
  };
  return {{"f4.npy", file(1, "<f4", "(3, 2)", "False", 24)},   {"f2.npy", file(2, "<f2", "(2, 2)", "False", 8)},
          {"f8.npy", file(3, "<f8", "(1, 3)", "False", 24)},   {"i8.npy", file(1, "<i8", "(4,)", "False", 32)},
          {"i4.npy", file(1, "<i4", "(4,)", "False", 16)},     {"big.npy", file(1, ">f4", "(3, 2)", "False", 24)},
          {"fortran.npy", file(1, "<f4", "(3, 2)", "True", 24)}, {"empty.npy", file(1, "<f4", "(0, 5)", "False", 0)},
          {"object.npy", file(1, "|O", "(1,)", "False", 8)}};
}

std::vector<Seed> json_seeds() {
  return {{"config.json", R"({"extends": "base.json", "seed": 1, "model": {"name": "resnet50", "last_stride": 1},)"
                          R"( "stages": [{"epochs": 3, "rate": 3.5e-4, "text": "\u00e9\n"}], "x": null, "y": [true, false]})"},
          {"preprocess.json", R"({"height": 128, "width": 64, "mean": [0.5, 0.5, 0.5], "filter": "bicubic"})"},
          {"set.txt", "/model/sizes/-=3"},
          {"set_text.txt", "/model/name=osnet_x0_25"},
          {"deep.json", std::string(70, '[') + std::string(70, ']')},
          {"twice.json", R"({"a": 1, "a": 2})"},
          {"big.json", "[1e999, -1e-999, 18446744073709551616, -9223372036854775808]"}};
}

std::vector<Seed> list_seeds() {
  return {{"msmt17.txt", "0000/0000_000_01_0303morning_0015_0.jpg 0\r\n0001/0001_002_15_0303noon_0015_1.jpg 1\n"},
          {"market.txt", "0001_c1s1_001051_00.jpg\n-1_c6s3_095567_04.jpg\n0000_c3s2_1_05.png\n"},
          {"escape.txt", "../../etc/x_000_01_a.jpg 3\n/abs_000_02_b.jpg 4\n"},
          {"numbers.txt", "a_b_99999999999999999999_c.jpg 1\na_b_1_c.jpg 99999999999999999999\na_b_-1_ 1\n"}};
}

std::vector<Seed> picture_seeds() {
  std::vector<Seed> seeds;
  cv::Mat colour(13, 7, CV_8UC3), deep(5, 4, CV_16UC1), alpha(6, 6, CV_8UC4);
  for (int y = 0; y < colour.rows; ++y) {
    for (int x = 0; x < colour.cols; ++x) {
      colour.at<cv::Vec3b>(y, x) = cv::Vec3b(static_cast<uint8_t>(20 * y), static_cast<uint8_t>(30 * x), 200);
    }
  }
  deep.setTo(40000);
  alpha.setTo(cv::Scalar(10, 20, 30, 128));
  cv::Mat gray;
  cv::extractChannel(colour, gray, 0);
  const auto add = [&](const std::string& name, const std::string& extension, const cv::Mat& image,
                       const std::vector<int>& options = {}) {
    std::vector<uint8_t> bytes;
    cv::imencode(extension, image, bytes, options);
    seeds.push_back({name + extension, std::string(bytes.begin(), bytes.end())});
  };
  for (const auto* extension : {".jpg", ".png", ".bmp", ".webp", ".tiff"}) add("colour", extension, colour);
  add("progressive", ".jpg", colour, {cv::IMWRITE_JPEG_PROGRESSIVE, 1, cv::IMWRITE_JPEG_RST_INTERVAL, 1});
  for (const auto* extension : {".jpg", ".png", ".bmp", ".tiff"}) add("gray", extension, gray);
  for (const auto* extension : {".png", ".tiff"}) add("deep", extension, deep);
  for (const auto* extension : {".png", ".webp"}) add("alpha", extension, alpha);
  add("bilevel", ".png", gray, {cv::IMWRITE_PNG_BILEVEL, 1});
  // EXIF with an orientation, big- and little-endian, behind the start of a JPEG.
  const std::string jpeg = seeds.front().bytes;
  const std::string tiff_little = std::string("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 26);
  const std::string tiff_big = std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0", 26);
  for (const auto& [name, tiff] : {std::pair{"exif_little.jpg", tiff_little}, std::pair{"exif_big.jpg", tiff_big}}) {
    const std::string body = std::string("Exif\0\0", 6) + tiff;
    const auto length = body.size() + 2;
    std::string segment("\xff\xe1", 2);
    segment += static_cast<char>(length >> 8);
    segment += static_cast<char>(length & 0xff);
    seeds.push_back({name, jpeg.substr(0, 2) + segment + body + jpeg.substr(2)});
  }
  return seeds;
}

std::vector<Seed> caption_seeds() {
  const std::string cuhk = R"([{"split": "train", "captions": ["A man walks.", "He wears blue."], "file_path": "a.jpg", "id": 1},)"
                           R"({"split": "test", "captions": ["A woman."], "file_path": "b/0000_c1_0.jpg", "id": 2,)"
                           R"( "processed_tokens": [["a", "woman"]]}])";
  std::string rstp = cuhk;
  for (std::size_t at; (at = rstp.find("file_path")) != std::string::npos;) rstp.replace(at, 9, "img_path");
  return {{"cuhk_pedes.json", cuhk},
          {"rstp_reid.json", rstp},
          {"escape.json", R"([{"split": "train", "captions": ["x"], "file_path": "../../a.jpg", "id": 0}])"},
          {"twice.json", R"([{"split": "val", "captions": [" "], "file_path": "a.jpg", "id": -1}, {"split": "val"}, 3, null])"},
          {"big_id.json", R"([{"split": "train", "captions": ["x"], "img_path": "a.jpg", "id": 18446744073709551615}])"},
          {"object.json", R"({"train": []})"}};
}

std::vector<Seed> wordpiece_seeds() {
  return {{"small.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nman\n##s\n,\nblue\n##u\n##e\n"},
          {"carriage.txt", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\nbag\r\n##s\r\n"},
          {"no_pad.txt", "[UNK]\n[PAD]\n[CLS]\n[SEP]\n"},
          {"twice.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n"},
          {"not_utf8.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n\xff\n"},
          {"fixture.txt", read_file(fs::path(REID_FIXTURES) / "text/wordpiece_uncased.txt")}};
}

/// As gzip packs it.
std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::vector<Seed> clip_bpe_seeds() {
  const std::string small = "#version: 0.2\nt h\nth e</w>\na n</w>\nm an</w>\n";
  return {{"small.txt", small},
          {"small.txt.gz", gzip(small)},
          {"unknown.txt", "#version: 0.2\nq zz\n"},
          {"twice.txt", "#version: 0.2\nt h\nt h\n"},
          {"zeros.txt.gz", gzip(std::string(1 << 22, '\0'))},
          {"cut.txt.gz", gzip(small).substr(0, 30)},
          {"fixture.txt.gz", gzip(read_file(fs::path(REID_FIXTURES) / "text/clip_merges.txt"))}};
}

std::vector<Seed> sentence_seeds() {
  return {{"plain.txt", "The man is wearing a black jacket, blue jeans and white sneakers."},
          {"html.txt", "A &amp;lt;b&amp;gt; &eacute;t&eacute &#233; &#x1F600; &#0; &notin; &#99999999;"},
          {"wrong.txt", "na\xc3\x83\xc2\xafve caf\xc3\x83\xc2\xa9 \xc3\xa2\xe2\x82\xac\xe2\x84\xa2 \xef\xac\x81 \xef\xbc\xa1 \xe2\x80\x9cq\xe2\x80\x9d"},
          {"marks.txt", "e\xcc\x81\xcc\x82 \xe4\xb8\xad\xe6\x96\x87 \xd8\xa7\xd9\x8e \xc7\x86 \xe1\xba\x9e \xc4\xb0 \x1b[31mred\x1b[0m"},
          {"special.txt", "[MASK][SEP] <|startoftext|> it's we'll they'd I'm 2024 [CLS"},
          {"not_utf8.txt", "a \xc3( \xed\xa0\x80 \xf4\x90\x80\x80 \xc0\x80"},
          {"long.txt", std::string(300, 'a') + " " + std::string(300, '!')}};
}

}  // namespace

std::vector<Seed> seeds_for(const std::string& target) {
  const std::map<std::string, std::vector<Seed> (*)()> makers{
      {"weights", weight_seeds}, {"npy", npy_seeds},           {"json", json_seeds},         {"lists", list_seeds},
      {"picture", picture_seeds}, {"mat5", mat5_seeds},        {"cuhk03", cuhk03_seeds},     {"captions", caption_seeds},
      {"wordpiece", wordpiece_seeds}, {"clip_bpe", clip_bpe_seeds}, {"sentence", sentence_seeds}};
  std::vector<Seed> seeds = makers.at(target)();
  std::sort(seeds.begin(), seeds.end(), [](const Seed& a, const Seed& b) { return a.name < b.name; });
  return seeds;
}

}  // namespace reid::fuzz
