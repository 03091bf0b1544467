// Every pass on the same maps, in every type: prints the bytes of a vector, and all results.
#include "../senet/fast/kernels.cpp"

#include <cstdio>
#include <map>
#include <string>
#include <vector>

template <class T> using Numbers = std::vector<T>;

// Numbers from -4 to 4 that each type holds exactly.
template <class T> struct Of {
    typedef typename T::Stored S;
    typedef typename T::Number R;
    static R number(long i) { return (R)(i * 37 % 65 - 32) / 8; }
    static S stored(R value) {
        typename T::Vector all = {};
        all += value;
        S many[LANES];
        T::store(many, all);
        return many[0];
    }
    static Numbers<S> maps(long count, long seed) {
        Numbers<S> found(count);
        for (long i = 0; i < count; i++) found[i] = stored(number(i + seed));
        return found;
    }
    static Numbers<R> numbers(long count, long seed) {
        Numbers<R> found(count);
        for (long i = 0; i < count; i++) found[i] = number(i + seed);
        return found;
    }
    static void print(const Numbers<R>& numbers) {
        for (R number : numbers) printf("%.9g\n", (double)number);
    }
    static void print_maps(const Numbers<S>& maps) {
        for (size_t i = 0; i < maps.size(); i += LANES) {
            typename T::Vector all = T::load(&maps[i]);
            for (int lane = 0; lane < LANES; lane++) printf("%.9g\n", (double)all[lane]);
        }
    }
};

#define CHECK(NAME, T)                                                                             \
    for (long C : {16, 32, 48, 64, 128})                                                           \
        for (long flags : {0, 1, 2, 3}) {                                                          \
            typedef typename Of<T>::R R;                                                           \
            const long N = 2, P = 7;                                                               \
            auto x = Of<T>::maps(N * P * C, 1), y = Of<T>::maps(N * P * C, 5), shortcut = y;       \
            auto kept = x, out = x;                                                                \
            std::map<std::string, Numbers<R>> many;                                                \
            auto numbers = [&](const char* name, long seed) {                                      \
                return (many[name] = Of<T>::numbers(N * C, seed)).data();                          \
            };                                                                                     \
            auto weights = [&](const char* name, long count, long seed) {                          \
                many[name] = Of<T>::numbers(count, seed);                                          \
                for (R& number : many[name]) number /= 16;                                         \
                return many[name].data();                                                          \
            };                                                                                     \
            Arguments<T> a = {};                                                                   \
            a.images = N, a.pixels = P, a.channels = C, a.relu = flags & 1, a.trains = 1;          \
            a.eps = 0.01, a.momentum = 0.5, a.x = x.data();                                        \
            a.mean = numbers("mean", 0), a.inverse = numbers("inverse", 0);                        \
            a.running_mean = numbers("running_mean", 1), a.running_var = numbers("running_var", 2); \
            a.weight = numbers("weight", 3), a.bias = numbers("bias", 4);                          \
            a.means = numbers("means", 0), a.squares = numbers("squares", 0), a.z = numbers("z", 0); \
            measure_##NAME(&a);                                                                    \
            a.extreme = numbers("extreme", 0), a.count = numbers("count", 0);                      \
            a.peak = numbers("peak", 0);                                                           \
            extremes_##NAME(&a);                                                                   \
            a.gate = numbers("gate", 5), a.y = y.data(), a.shortcut = flags & 2 ? shortcut.data() : 0; \
            combine_##NAME(&a);                                                                    \
            const long H = C / 16 + 1;                                                             \
            a.units = H, a.function = (C + flags) % 9, a.w1 = weights("w1", H * C, 1);             \
            a.w2 = weights("w2", C * H, 2), a.b1 = weights("b1", H, 3), a.b2 = weights("b2", C, 4);\
            a.hidden = weights("hidden", N * H, 0), a.hidden_peak = weights("hidden_peak", N * H, 0);\
            excite_##NAME(&a);                                                                     \
            a.grad = shortcut.data(), a.other = x.data(), a.kept = flags & 2 ? kept.data() : 0;    \
            a.sums = numbers("sums", 0), a.products = numbers("products", 0);                      \
            a.gate_grad = numbers("gate_grad", 0);                                                 \
            reduce_##NAME(&a);                                                                     \
            a.z_grad = numbers("z_grad", 6), a.peak_grad = numbers("peak_grad", 7);                \
            a.w1_grad = weights("w1_grad", H * C, 0), a.b1_grad = weights("b1_grad", H, 0);        \
            a.w2_grad = weights("w2_grad", C * H, 0), a.b2_grad = weights("b2_grad", C, 0);        \
            excite_back_##NAME(&a);                                                                \
            a.weight_grad = numbers("weight_grad", 0), a.bias_grad = numbers("bias_grad", 0);      \
            a.out = out.data();                                                                    \
            spread_##NAME(&a);                                                                     \
            for (auto& one : many) Of<T>::print(one.second);                                       \
            Of<T>::print_maps(y), Of<T>::print_maps(kept), Of<T>::print_maps(out);                 \
        }

int main() {
    printf("%ld\n", WIDTH);
    CHECK(bfloat16, Bfloat16)
    CHECK(float32, Float)
    CHECK(float64, Double)
}
