// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/matching.hpp"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "losses/gradcheck.hpp"
#include "reid/core/error.hpp"
#include "reid/losses/support_fusion.hpp"
#include "support/catch.hpp"

using namespace reid;
using namespace reid::losses;
using torch::Tensor;

namespace {

const auto kDouble = torch::dtype(torch::kFloat64);

/// Rows of length 1 at these angles in degrees.
Tensor at_angles(const std::vector<double>& degrees) {
  const auto angles = torch::tensor(degrees, torch::kFloat64) * (M_PI / 180);
  return torch::stack({angles.cos(), angles.sin()}, 1);
}

double number(const Tensor& x) { return x.item<double>(); }

double cosine(double degrees) { return std::cos(degrees * M_PI / 180); }

/// Gradients with respect to pictures and sentences at once.
void check_gradient(const std::function<Tensor(const Tensor&, const Tensor&)>& loss) {
  torch::manual_seed(3);
  const auto both = torch::randn({2, 5, 4}, kDouble);
  CHECK(test::gradient_error([&](const Tensor& x) { return loss(x[0], x[1]); }, both) < 1e-6);
}

const Tensor& labels() {
  static const Tensor values = torch::tensor({0, 1, 0, 2, 1}, torch::kInt64);
  return values;
}

}  // namespace

TEST_CASE("ranking: one semi-hard negative by hand, and none", "[losses][text]") {
  Random random({1});
  // Pictures at 0 and 90 degrees; sentences at 10 and 60. S = cos of differences: S00 = cos 10, S01 = cos 60,
  // S10 = cos 80, S11 = cos 30. Margin 0.2: picture 0: cos 60 - cos 10 + 0.2 < 0: none; picture 1: cos 80 - cos 30 < -0.2:
  // none; sentence 0: S10 - S00: none; sentence 1: S01 - S11 + 0.2 = 0.5 - 0.866 + 0.2 < 0: none.
  const auto y = torch::tensor({0, 1}, torch::kInt64);
  CHECK(number(cross_modal_ranking(at_angles({0, 90}), at_angles({10, 60}), y, 0.2, Negative::semi_hard, random)) == 0);
  // Margin 0.4: sentence 1 alone is violated, by 0.5 - 0.866 + 0.4 = 0.034.
  const double expected = cosine(60) - cosine(30) + 0.4;
  CHECK(number(cross_modal_ranking(at_angles({0, 90}), at_angles({10, 60}), y, 0.4, Negative::semi_hard, random)) ==
        Approx(expected));
  // A negative that is more similar than the positive isn't semi-hard, but it is the hardest.
  const auto v = at_angles({0, 90}), t = at_angles({80, 20});
  CHECK(number(cross_modal_ranking(v, t, y, 0.2, Negative::semi_hard, random)) == 0);
  const double s00 = cosine(80), s01 = cosine(20), s10 = cosine(10), s11 = cosine(70);
  CHECK(number(cross_modal_ranking(v, t, y, 0.2, Negative::hardest, random)) ==
        Approx((s01 - s00) + (s10 - s11) + (s10 - s00) + (s01 - s11) + 4 * 0.2));
  // One identity alone: nothing to rank.
  CHECK(number(cross_modal_ranking(v, t, torch::zeros({2}, torch::kInt64), 0.2, Negative::hardest, random)) == 0);
}

TEST_CASE("ranking: every semi-hard negative is drawn, gradients are right", "[losses][text]") {
  // Picture 0 has two semi-hard negatives of different similarity: both losses occur.
  const auto v = at_angles({0, 180, 180}), t = at_angles({20, 25, 28});
  const auto y = torch::tensor({0, 1, 2}, torch::kInt64);
  std::vector<double> seen;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Random random({seed});
    const auto s = number(cross_modal_ranking(v, t, y, 0.1, Negative::semi_hard, random));
    if (std::none_of(seen.begin(), seen.end(), [&](double x) { return std::abs(x - s) < 1e-9; })) seen.push_back(s);
  }
  CHECK(seen.size() >= 2);
  check_gradient([](const Tensor& a, const Tensor& b) {
    Random random({5});
    return cross_modal_ranking(a, b, labels(), 0.5, Negative::hardest, random);
  });
}

TEST_CASE("CMPM by its definition, both norms of the target", "[losses][text]") {
  torch::manual_seed(1);
  const auto v = torch::randn({3, 2}, kDouble), t = torch::randn({3, 2}, kDouble);
  const auto y = torch::tensor({4, 4, 7}, torch::kInt64);
  for (const auto norm : {TargetNorm::sum, TargetNorm::l2}) {
    double expected = 0;
    for (const auto& [a, b] : {std::pair{v, t}, std::pair{t, v}}) {
      for (int64_t i = 0; i < 3; ++i) {
        std::vector<double> e;
        double total = 0;
        for (int64_t j = 0; j < 3; ++j) {
          e.push_back(std::exp(number(a[i].dot(b[j]) / b[j].norm())));
          total += e.back();
        }
        for (int64_t j = 0; j < 3; ++j) {
          const double p = e[static_cast<std::size_t>(j)] / total;
          const bool same = (i < 2) == (j < 2);
          const double size = i < 2 ? 2 : 1;
          const double q = same ? 1 / (norm == TargetNorm::sum ? size : std::sqrt(size)) : 0;
          expected += p * (std::log(p) - std::log(q + 1e-8)) / 3;
        }
      }
    }
    CHECK(number(cmpm(v, t, y, norm)) == Approx(expected));
  }
  check_gradient([](const Tensor& a, const Tensor& b) { return cmpm(a, b, labels()); });
}

TEST_CASE("SDM is 0 for the target's distribution and doesn't know lengths", "[losses][text]") {
  // Two identities, orthogonal, temperature small: p is the target to machine precision.
  const auto v = torch::eye(2, kDouble), y = torch::tensor({0, 1}, torch::kInt64);
  CHECK(std::abs(number(sdm(v, v, y, 0.01))) < 1e-6);
  torch::manual_seed(2);
  const auto a = torch::randn({5, 4}, kDouble), b = torch::randn({5, 4}, kDouble);
  CHECK(number(sdm(a * 3, b * 0.1, labels())) == Approx(number(sdm(a, b, labels()))));
  // Two rows of one identity at equal similarity: p = q = 1/2.
  const auto same = torch::ones({2, 3}, kDouble);
  CHECK(std::abs(number(sdm(same, same, torch::zeros({2}, torch::kInt64)))) < 1e-6);
  check_gradient([](const Tensor& x, const Tensor& z) { return sdm(x, z, labels(), 0.5); });
  CHECK_THROWS_AS(sdm(a, b, labels(), 0), ConfigError);
}

TEST_CASE("CMPC by hand and its gradients", "[losses][text]") {
  // Both features along the first axis, of length 2 and 3; classes along the axes: logits (2, 0) and (3, 0).
  const auto v = torch::tensor({{2.0, 0.0}}, torch::kFloat64), t = torch::tensor({{3.0, 0.0}}, torch::kFloat64);
  const auto weight = torch::tensor({{5.0, 0.0}, {0.0, 0.1}}, torch::kFloat64);
  CHECK(number(cmpc(v, t, torch::zeros({1}, torch::kInt64), weight)) ==
        Approx(std::log(1 + std::exp(-2.0)) + std::log(1 + std::exp(-3.0))));
  const auto classes = torch::randn({3, 4}, kDouble);
  check_gradient([&](const Tensor& a, const Tensor& b) { return cmpc(a, b, labels(), classes); });
}

TEST_CASE("distillation: 0 for equal features, scale-free relation, nothing to the teacher", "[losses][text]") {
  torch::manual_seed(4);
  const auto v = torch::randn({4, 3}, kDouble), t = torch::randn({4, 3}, kDouble);
  for (const auto kind : {RelationLoss::frobenius, RelationLoss::kl}) {
    CHECK(std::abs(number(relation_distillation(v, t, v, t, kind))) < 1e-15);
    CHECK(std::abs(number(relation_distillation(v * 7, t * 0.2, v, t, kind))) < 1e-15);
  }
  // One pair: R_S = cos 60 = 0.5, R_T = cos 90 = 0.
  CHECK(number(relation_distillation(at_angles({0}), at_angles({60}), at_angles({0}), at_angles({90}))) == Approx(0.25));
  CHECK(number(feature_distillation(v + 2, v)) == Approx(4));
  CHECK(number(feature_distillation(v * 2, v, true)) < 1e-15);
  auto teacher = torch::randn({4, 3}, kDouble).requires_grad_(true);
  auto student = v.clone().requires_grad_(true);
  (feature_distillation(student, teacher) + relation_distillation(student, t, teacher, t)).backward();
  CHECK_FALSE(teacher.grad().defined());
  CHECK(student.grad().abs().sum().item<double>() > 0);
  const auto other = torch::randn({2, 5, 4}, kDouble);
  for (const auto kind : {RelationLoss::frobenius, RelationLoss::kl}) {
    check_gradient([&](const Tensor& a, const Tensor& b) { return relation_distillation(a, b, other[0], other[1], kind); });
  }
}

TEST_CASE("half precision and autocast take no digits from matching", "[losses][text]") {
  torch::manual_seed(8);
  const auto v = torch::randn({5, 16}).to(torch::kBFloat16), t = torch::randn({5, 16}).to(torch::kBFloat16);
  const auto v0 = torch::randn({5, 16}), t0 = torch::randn({5, 16}), weight = torch::randn({3, 16});
  const std::vector<std::function<Tensor(const Tensor&, const Tensor&)>> all{
      [](const Tensor& a, const Tensor& b) {
        Random random({5});
        return cross_modal_ranking(a, b, labels(), 0.5, Negative::hardest, random);
      },
      [](const Tensor& a, const Tensor& b) { return cmpm(a, b, labels()); },
      [&](const Tensor& a, const Tensor& b) { return cmpc(a, b, labels(), weight); },
      [](const Tensor& a, const Tensor& b) { return sdm(a, b, labels()); },
      [&](const Tensor& a, const Tensor& b) { return relation_distillation(a, b, v0, t0); },
      [&](const Tensor& a, const Tensor&) { return feature_distillation(a, v0); }};
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(i);
    const auto exact = all[i](v.to(torch::kFloat32), t.to(torch::kFloat32));
    CHECK(all[i](v, t).equal(exact));
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const auto inside = all[i](v.to(torch::kFloat32), t.to(torch::kFloat32));
    at::autocast::set_autocast_enabled(at::kCPU, false);
    CHECK(inside.equal(exact));
  }
}

TEST_CASE("matching losses refuse what doesn't fit", "[losses][text]") {
  const auto v = torch::randn({2, 3}), y = torch::zeros({2}, torch::kInt64);
  CHECK_THROWS_AS(cmpm(v, torch::randn({2, 4}), y), ShapeError);
  CHECK_THROWS_AS(cmpm(v, torch::randn({3, 3}), y), ShapeError);
  CHECK_THROWS_AS(sdm(v, v, torch::zeros({3}, torch::kInt64)), ShapeError);
  CHECK_THROWS_AS(sdm(v, v, y.to(torch::kInt32)), ShapeError);
  CHECK_THROWS_AS(cmpc(v, v, y, torch::randn({5, 4})), ShapeError);
  CHECK_THROWS_AS(feature_distillation(v[0], v[0]), ShapeError);
  CHECK_THROWS_AS(relation_distillation(v, v, torch::randn({3, 3}), torch::randn({3, 3})), ShapeError);
}

TEST_CASE("support fusion: weights, order, no support, by its definition", "[losses][text]") {
  torch::manual_seed(6);
  SupportFusionOptions options;
  options.heads = 2;
  const auto x = torch::randn({3, 4}, kDouble), support = torch::randn({3, 5, 4}, kDouble);
  for (const auto norm : {FusionNorm::after, FusionNorm::before, FusionNorm::none}) {
    for (const int which : {0, 1, 2, 3}) {
      options.norm = norm;
      options.self_attn_mean = which % 2 == 1;
      options.ffn = which / 2 == 1;
      options.residual = which != 3;
      SupportFusion fusion(4, options);
      fusion.to(torch::kFloat64);
      Tensor attention;
      const auto r = fusion.forward(x, support, &attention);
      CHECK(attention.sizes() == torch::IntArrayRef({3, 2, 6}));
      CHECK((attention.sum(2) - 1).abs().max().item<double>() < 1e-12);
      const auto turned = fusion.forward(x, support.flip(1));
      CHECK((r - turned).abs().max().item<double>() < 1e-12);
      CHECK(fusion.forward(x, support.narrow(1, 0, 0)).equal(x));
      const auto weight = torch::randn({3, 4}, kDouble);
      CHECK(test::gradient_error([&](const Tensor& s) { return (fusion.forward(x, s) * weight).sum(); }, support) < 1e-6);
      CHECK(test::gradient_error([&](const Tensor& s) { return (fusion.forward(s, support) * weight).sum(); }, x) < 1e-6);
    }
  }
  const auto standard = [](const Tensor& rows) {
    return (rows - rows.mean(-1, true)) / (rows.var(-1, false, true) + 1e-5).sqrt();
  };
  const auto all = torch::cat({x[0].unsqueeze(0), support[0]}, 0);
  for (const auto norm : {FusionNorm::after, FusionNorm::before, FusionNorm::none}) {
    options = {};
    options.heads = 2;
    options.norm = norm;
    SupportFusion fusion(4, options);
    fusion.to(torch::kFloat64);
    const auto p = fusion.named_parameters();
    CHECK(p.contains("norm.weight") == (norm != FusionNorm::none));
    const auto seen = norm == FusionNorm::before ? standard(all) : all;
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < 2; ++h) {
      const auto rows = [&](const char* name, const Tensor& in) { return in.matmul(p[name].narrow(0, 2 * h, 2).t()); };
      const auto scores = rows("key.weight", seen).mv(rows("query.weight", seen.narrow(0, 0, 1))[0]) / std::sqrt(2.0);
      heads.push_back(torch::softmax(scores, 0).unsqueeze(0).matmul(rows("value.weight", seen))[0]);
    }
    const auto z = p["out.weight"].mv(torch::cat(heads)) + x[0];
    const auto expected = norm == FusionNorm::after ? standard(z) : z;
    CHECK((fusion.forward(x, support)[0] - expected).abs().max().item<double>() < 1e-12);
  }
  for (const bool residual : {false, true}) {
    options = {};
    options.heads = 2;
    options.norm = FusionNorm::none;
    options.start = FusionStart::mean;
    options.residual = residual;
    SupportFusion fusion(4, options);
    fusion.to(torch::kFloat64);
    const auto expected = all.mean(0) + (residual ? x[0] : torch::zeros_like(x[0]));
    CHECK((fusion.forward(x, support)[0] - expected).abs().max().item<double>() < 1e-12);
    const auto weight = torch::randn({3, 4}, kDouble);
    (fusion.forward(x, support) * weight).sum().backward();
    CHECK(fusion.named_parameters()["query.weight"].grad().abs().sum().item<double>() > 0);  // it can learn whom to ask
  }
  SupportFusion fusion(4, options);
  options.heads = 3;
  CHECK_THROWS_AS(SupportFusion(4, options), ConfigError);
  CHECK_THROWS_AS(fusion.forward(x, support.narrow(0, 0, 2)), ShapeError);
  CHECK_THROWS_AS(fusion.forward(x, x), ShapeError);
}
