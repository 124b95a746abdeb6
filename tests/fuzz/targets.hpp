// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

/// One function for each reader of foreign bytes. It returns if the bytes were read or refused as the reader promises (its
/// own error class, a sentence that names the source), and throws Broken, or whatever the reader let out, if not.
namespace reid::fuzz {

class Broken : public std::logic_error {
  using std::logic_error::logic_error;
};

void weights(std::string_view bytes);  ///< .pth, .pt, .safetensors
void npy(std::string_view bytes);
void json(std::string_view bytes);     ///< configurations and --set
void lists(std::string_view bytes);    ///< MSMT17's lists, names of pictures
void picture(std::string_view bytes);  ///< headers, EXIF and all decoders
void mat5(std::string_view bytes);     ///< MATLAB files of version 5: CUHK03's configurations, GRID's partitions
void cuhk03(std::string_view bytes);   ///< cuhk-03.mat, MATLAB 7.3
void captions(std::string_view bytes); ///< lists of the sets with sentences
void wordpiece(std::string_view bytes);  ///< a vocabulary
void clip_bpe(std::string_view bytes);   ///< merges, packed or not
void sentence(std::string_view bytes);   ///< cleaning and cutting of text

/// A folder of this process for readers that want a path, in TMPDIR; removed at the end.
std::string scratch_folder();
/// Writes a file in it and returns its path.
std::string scratch_file(const std::string& name, std::string_view bytes);

void require(bool condition, const char* what);
/// What a user would see: one line that begins with the source.
void require_sentence(const std::string& message, const std::string& source);

}  // namespace reid::fuzz
