// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

namespace reid::engine {
namespace {

constexpr std::array<std::pair<const char*, const char*>, 6> kColumns{{{"rank1", "rank-1"},
                                                                      {"rank5", "rank-5"},
                                                                      {"rank10", "rank-10"},
                                                                      {"map", "mAP"},
                                                                      {"map_interpolated", "mAP (trapezoid)"},
                                                                      {"minp", "mINP"}}};

std::string percent(const Json& value) { return value.is_number() ? fmt::format("{:.2f}", 100 * value.get<double>()) : "-"; }

std::string cell(const Json& entry, const char* metric) {
  const auto& metrics = entry.at("metrics");
  if (!metrics.contains(metric)) return "-";
  std::string text = percent(metrics.at(metric));
  const auto& intervals = entry.at("ci95");
  if (intervals.contains(metric)) {
    text += fmt::format(" [{}, {}]", percent(intervals.at(metric).at(0)), percent(intervals.at(metric).at(1)));
  }
  return text;
}

std::string name_of(const Json& entry) {
  return entry.at("name").get<std::string>() + (entry.at("oracle").is_null() ? "" : " (oracle, no result)");
}

std::string difference(const Json& entry) {
  if (!entry.contains("map_difference")) return "";
  const auto& d = entry.at("map_difference");
  return fmt::format("{:+.2f} [{:+.2f}, {:+.2f}]", 100 * d.at("mean").get<double>(), 100 * d.at("ci95").at(0).get<double>(),
                     100 * d.at("ci95").at(1).get<double>());
}

using Table = std::vector<std::vector<std::string>>;

Table measured(const Json& summary) {
  Table table{{"entry", "seeds"}};
  for (const auto& [key, heading] : kColumns) table[0].emplace_back(heading);
  table[0].insert(table[0].end(), {"mAP difference", "parameters (M)", "training"});
  for (const auto& entry : summary.at("entries")) {
    std::vector<std::string> row{name_of(entry), fmt::format("{}", entry.at("seeds").size())};
    for (const auto& [key, heading] : kColumns) row.push_back(cell(entry, key));
    row.push_back(difference(entry));
    row.push_back(fmt::format("{:.2f}", entry.at("parameters").get<double>() * 1e-6));
    const auto seconds = entry.at("training_seconds");
    row.push_back(seconds.is_number() ? fmt::format("{:.0f} s", seconds.get<double>()) : "none");
    table.push_back(std::move(row));
  }
  return table;
}

Table published(const Json& summary) {
  Table table{{"method", "rank-1", "mAP", "source"}};
  for (const auto& line : summary.at("published")) {
    const auto& metrics = line.at("metrics");
    table.push_back({line.at("name").get<std::string>(), percent(metrics.value("rank1", Json())),
                     percent(metrics.value("map", Json())), line.at("source").get<std::string>()});
  }
  return table;
}

std::vector<std::string> facts(const Json& summary) {
  std::vector<std::string> lines;
  const auto scored = [&](const char* key) { return summary.at("scored").value(key, Json()); };
  lines.push_back(fmt::format("Protocol {}, metric {}, re-ranking {}, data set {}, {} queries ({} without match), gallery {}.",
                              summary.at("protocol").get<std::string>(), scored("metric").dump(), scored("rerank").is_null() ? "none" : scored("rerank").dump(),
                              scored("dataset").dump(), scored("queries").dump(), scored("queries_without_match").dump(),
                              scored("gallery").dump()));
  lines.push_back(
      "Intervals are 95 %: over seeds (Student's t) where an entry has several, else a bootstrap over queries. The "
      "difference is to the first entry, by a paired bootstrap over queries. Metrics in per cent.");
  for (const auto& note : scored("notes")) lines.push_back(note.get<std::string>());
  for (const auto& entry : summary.at("entries")) {
    lines.push_back(fmt::format("{}: feature {}, flip {}.", name_of(entry), entry.at("feature").get<std::string>(),
                                entry.at("flip").get<bool>() ? "on" : "off"));
    if (!entry.at("oracle").is_null()) {
      lines.push_back(fmt::format("{}: every sentence and picture was fused with {} others of its own identity by the stage '{}'.",
                                  name_of(entry), entry["oracle"].at("support").dump(), entry["oracle"].at("stage").get<std::string>()));
    }
  }
  lines.push_back(fmt::format("Made by reid {} on {}, {} threads, device {}.",
                              summary.at("environment").at("reid").get<std::string>(),
                              summary.at("environment").at("processor").get<std::string>(),
                              summary.at("environment").at("threads").dump(),
                              summary.at("environment").at("device").get<std::string>()));
  return lines;
}

std::string escaped(const std::string& text, bool html) {
  std::string result;
  for (const char c : text) {
    if (html && c == '<') {
      result += "&lt;";
    } else if (html && c == '>') {
      result += "&gt;";
    } else if (html && c == '&') {
      result += "&amp;";
    } else if (html && c == '"') {
      result += "&quot;";
    } else if (!html && c == '|') {
      result += "\\|";
    } else if (!html && c == '\n') {
      result += ' ';
    } else {
      result += c;
    }
  }
  return result;
}

std::string markdown_table(const Table& table) {
  std::string text;
  for (std::size_t i = 0; i < table.size(); ++i) {
    text += "|";
    for (const auto& value : table[i]) text.append(" ").append(escaped(value, false)).append(" |");
    text += "\n";
    if (i == 0) {
      text += "|";
      for (std::size_t j = 0; j < table[0].size(); ++j) text += j == 0 ? " --- |" : " ---: |";
      text += "\n";
    }
  }
  return text;
}

std::string html_table(const Table& table) {
  std::string text = "<table>\n";
  for (std::size_t i = 0; i < table.size(); ++i) {
    text += "<tr>";
    for (const auto& value : table[i]) {
      text += i == 0 ? "<th>" + escaped(value, true) + "</th>" : "<td>" + escaped(value, true) + "</td>";
    }
    text += "</tr>\n";
  }
  return text + "</table>\n";
}

constexpr const char* kPublishedHeading = "Published, not measured here";

}  // namespace

std::pair<double, double> student_interval(const std::vector<double>& values) {
  // Two-sided 97.5 % quantiles for 1..30 degrees of freedom; beyond, the normal's with the usual correction.
  constexpr std::array kQuantiles{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                  2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                                  2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  const std::size_t freedom = values.size() - 1;
  const double quantile =
      freedom <= kQuantiles.size() ? kQuantiles[freedom - 1] : 1.96 + 2.4 / static_cast<double>(freedom);
  const double half = quantile * std::sqrt(squares / (count - 1) / count);
  return {std::max(mean - half, 0.0), std::min(mean + half, 1.0)};
}

std::string report_markdown(const Json& summary) {
  std::string text = "# " + escaped(summary.at("title").get<std::string>(), false) + "\n\n";
  text += markdown_table(measured(summary)) + "\n";
  for (const auto& line : facts(summary)) text += "- " + line + "\n";
  if (!summary.at("published").empty()) {
    text += fmt::format("\n## {}\n\n", kPublishedHeading) + markdown_table(published(summary));
  }
  return text;
}

std::string report_html(const Json& summary) {
  const auto title = escaped(summary.at("title").get<std::string>(), true);
  std::string text = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + title +
                     "</title>\n<style>body{font-family:sans-serif;margin:2em auto;max-width:90em;padding:0 1em}"
                     "table{border-collapse:collapse}th,td{border:1px solid #999;padding:.3em .6em;text-align:right}"
                     "th:first-child,td:first-child{text-align:left}</style></head><body>\n<h1>" +
                     title + "</h1>\n";
  text += html_table(measured(summary)) + "<ul>\n";
  for (const auto& line : facts(summary)) text += "<li>" + escaped(line, true) + "</li>\n";
  text += "</ul>\n";
  if (!summary.at("published").empty()) {
    text += fmt::format("<h2>{}</h2>\n", kPublishedHeading) + html_table(published(summary));
  }
  return text + "</body></html>\n";
}

}  // namespace reid::engine
