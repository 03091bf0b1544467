// The block's arithmetic on (N, C) numbers and its gradients, one thread:
//
//     s = gate(W2 relu(W1 z + b1) + b2)
//
// where two squeezes go through one bottleneck the logits are summed.

#pragma once

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace {

template <class T> struct Block {
    typedef Arguments<T> A;
    typedef typename T::Number R;
    typedef typename T::Vector V;
    typedef std::vector<R> Numbers;
    // 16 channels of some rows at a time: eight vectors of sums for every width.
    static constexpr int K = 16 / LANES, ROWS = 8 / K;

    struct Matrix {
        const R* at;
        long row, column;
        R operator()(long i, long j) const { return at[i * row + j * column]; }
    };

    // Calls f(first row, how many as a constant) until all rows have had their turn.
    template <class F> static void rows(long count, F f) {
        long i = 0;
        for (; i + ROWS <= count; i += ROWS) f(i, std::integral_constant<int, ROWS>());
        for (; i < count; i++) f(i, std::integral_constant<int, 1>());
    }

    // out (count, C) += left (count, inner) * right (inner, C)
    static void add_product(R* out, long count, Matrix left, const R* right, long inner, long C) {
        rows(count, [&](long i, auto many) {
            for (long c = 0; c < C; c += 16) {
                V sum[many * K];
                R* to = out + i * C + c;
#pragma GCC unroll 16
                for (int at = 0; at < many * K; at++)
                    sum[at] = read<V>(to + at / K * C + at % K * LANES);
                for (long j = 0; j < inner; j++)
#pragma GCC unroll 16
                    for (int at = 0; at < many * K; at++)
                        sum[at] += left(i + at / K, j) * read<V>(right + j * C + c + at % K * LANES);
#pragma GCC unroll 16
                for (int at = 0; at < many * K; at++)
                    memcpy(to + at / K * C + at % K * LANES, &sum[at], sizeof(V));
            }
        });
    }

    // out (count, others) += left (count, C) * the transpose of right (others, C)
    static void add_dots(R* out, long count, const R* left, const R* right, long others, long C) {
        rows(count, [&](long i, auto many) {
            for (long j = 0; j < others; j++) {
                V sum[many * K] = {};
                for (long c = 0; c < C; c += 16)
#pragma GCC unroll 16
                    for (int at = 0; at < many * K; at++) {
                        const long here = c + at % K * LANES;
                        sum[at] += read<V>(left + (i + at / K) * C + here) * read<V>(right + j * C + here);
                    }
                for (int r = 0; r < many; r++) out[(i + r) * others + j] += total(sum + r * K);
            }
        });
    }

    static R total(const V* sums) {
        R all[16];
        memcpy(all, sums, sizeof all);
        for (int half = 8; half; half /= 2)
            for (int i = 0; i < half; i++) all[i] += all[i + half];
        return all[0];
    }

    // out (count, width) = times * row (width,), or 0 where there is no row
    static void fill(R* out, long count, long width, const R* row, R times = 1) {
        for (long i = 0; i < count; i++)
            for (long j = 0; j < width; j++) out[i * width + j] = row ? times * row[j] : 0;
    }

    // out (width,) += times * the sum of all rows of from (count, width)
    static void add_rows(R* out, const R* from, long count, long width, R times = 1) {
        for (long i = 0; i < count; i++)
            for (long j = 0; j < width; j++) out[j] += times * from[i * width + j];
    }

    static Numbers transposed(const R* from, long height, long width) {
        Numbers to(height * width);
        for (long i = 0; i < height; i++)
            for (long j = 0; j < width; j++) to[j * height + i] = from[i * width + j];
        return to;
    }

    static R sigmoid(R logit) { return 1 / (1 + std::exp(-logit)); }

    // Calls f(s from a logit, its derivative from s); in the order of FUNCTIONS in gates.py.
    template <class F> static void with_function(long function, F f) {
        switch (function) {
        case 0: return f(sigmoid, [](R s) { return s * (1 - s); });
        case 1: return f([](R x) { return std::tanh(x); }, [](R s) { return 1 - s * s; });
        case 2: return f([](R x) { return x < 0 ? 0 : x; }, [](R s) { return R(s > 0); });
        case 3: return f([](R x) { return x < -3 ? 0 : x > 3 ? 1 : (x + 3) / 6; },
                         [](R s) { return s > 0 && s < 1 ? R(1) / 6 : 0; });
        case 4: return f([](R x) { return 2 * sigmoid(x); }, [](R s) { return s * (1 - s / 2); });
        case 5: return f([](R x) { return 1 + std::tanh(x); }, [](R s) { return s * (2 - s); });
        case 6: return f([](R x) { return x < -1 ? 0 : 1 + x; }, [](R s) { return R(s > 0); });
        }
    }

    // What a softmax is multiplied by; 0 for a gate that is none.
    static R softmax_scale(const A& a) { return a.function == 7 ? 1 : a.function == 8 ? a.channels : 0; }

    // s (C,) in the place of the logits.
    static void softmax(R* s, long C, R scale) {
        const R most = *std::max_element(s, s + C);
        R sum = 0;
        for (long c = 0; c < C; c++) sum += s[c] = std::exp(s[c] - most);
        for (long c = 0; c < C; c++) s[c] *= scale / sum;
    }

    // The gradient of the logits in the place of the gradient of s.
    static void softmax_back(R* grad, const R* s, long C, R scale) {
        R sum = 0;
        for (long c = 0; c < C; c++) sum += grad[c] * s[c];
        for (long c = 0; c < C; c++) grad[c] = s[c] * (grad[c] - sum / scale);
    }

    struct Descriptor {
        const R* z;
        R *hidden, *grad;
    };

    static std::vector<Descriptor> descriptors(const A& a) {
        std::vector<Descriptor> found;
        if (a.hidden) found.push_back({a.z, a.hidden, a.z_grad});
        if (a.hidden_peak) found.push_back({a.peak, a.hidden_peak, a.peak_grad});
        return found;
    }

    // The gates, and what the hidden units say.
    static void excite(const A& a) {
        const long N = a.images, C = a.channels, H = a.units;
        const auto seen = descriptors(a);
        const Numbers w2 = transposed(a.w2, C, H);
        fill(a.gate, N, C, a.b2, seen.size());
        for (const Descriptor& one : seen) {
            fill(one.hidden, N, H, a.b1);
            add_dots(one.hidden, N, one.z, a.w1, H, C);
            for (long at = 0; at < N * H; at++)
                if (one.hidden[at] < 0) one.hidden[at] = 0;  // NaN stays
            add_product(a.gate, N, {one.hidden, H, 1}, w2.data(), H, C);
        }
        if (const R scale = softmax_scale(a))
            for (long n = 0; n < N; n++) softmax(a.gate + n * C, C, scale);
        with_function(a.function, [&](auto gate, auto) {
            for (long at = 0; at < N * C; at++) a.gate[at] = gate(a.gate[at]);
        });
    }

    // The gradients of z, of the peak and of all weights, from that of the gates, which is lost.
    static void excite_back(const A& a) {
        const long N = a.images, C = a.channels, H = a.units;
        R* grad = a.gate_grad;
        if (const R scale = softmax_scale(a))
            for (long n = 0; n < N; n++) softmax_back(grad + n * C, a.gate + n * C, C, scale);
        with_function(a.function, [&](auto, auto slope) {
            for (long at = 0; at < N * C; at++) grad[at] *= slope(a.gate[at]);
        });
        const auto seen = descriptors(a);
        const Numbers w2 = transposed(a.w2, C, H);
        Numbers w2_grad(H * C), of_hidden(N * H), open(N * H);
        add_dots(of_hidden.data(), N, grad, w2.data(), H, C);
        std::fill_n(a.w1_grad, H * C, 0);
        if (a.b1) std::fill_n(a.b1_grad, H, 0);
        for (const Descriptor& one : seen) {
            for (long at = 0; at < N * H; at++) open[at] = one.hidden[at] > 0 ? of_hidden[at] : 0;
            if (a.b1) add_rows(a.b1_grad, open.data(), N, H);
            std::fill_n(one.grad, N * C, 0);
            add_product(one.grad, N, {open.data(), H, 1}, a.w1, H, C);
            add_product(a.w1_grad, H, {open.data(), 1, H}, one.z, N, C);
            add_product(w2_grad.data(), H, {one.hidden, 1, H}, grad, N, C);
        }
        std::copy_n(transposed(w2_grad.data(), H, C).data(), C * H, a.w2_grad);
        if (!a.b2) return;
        std::fill_n(a.b2_grad, C, 0);
        add_rows(a.b2_grad, grad, N, C, seen.size());
    }
};

}  // namespace
