// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

namespace reid {

/// An open file of the system, closed with its owner; below 0: none.
class FileDescriptor {
 public:
  explicit FileDescriptor(int file) : file_(file) {}
  ~FileDescriptor() {
    if (file_ >= 0) ::close(file_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return file_; }

 private:
  int file_;
};

}  // namespace reid
