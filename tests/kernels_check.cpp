// Every pass on the same maps, in every type: prints the bytes of a vector, and all results.
#include "../senet/fast/kernels.cpp"

#include <cstdio>
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
    for (long C : {16, 32, 48, 64, 128}) {                                                         \
        const long N = 2, P = 7;                                                                   \
        auto x = Of<T>::maps(N * P * C, 1), y = Of<T>::maps(N * P * C, 5), out = x, kept = x;      \
        auto mean = Of<T>::numbers(C, 2), scale = Of<T>::numbers(N * C, 3), a = scale, b = scale;  \
        moments_##NAME(x.data(), a.data(), b.data(), N, P, C);                                     \
        Of<T>::print(a), Of<T>::print(b);                                                          \
        extremes_##NAME(x.data(), mean.data(), a.data(), b.data(), N, P, C);                       \
        Of<T>::print(a), Of<T>::print(b);                                                          \
        for (long relu : {0, 1}) {                                                                 \
            combine_##NAME(x.data(), mean.data(), scale.data(), mean.data(), 0, y.data(), relu,    \
                           out.data(), N, P, C);                                                   \
            Of<T>::print_maps(out);                                                                \
            reduce_##NAME(x.data(), mean.data(), scale.data(), scale.data(), C, out.data(), relu,  \
                          y.data(), x.data(), kept.data(), a.data(), b.data(), N, P, C);           \
            Of<T>::print(a), Of<T>::print(b), Of<T>::print_maps(kept);                             \
            spread_##NAME(x.data(), mean.data(), scale.data(), scale.data(), C, 0, relu, y.data(), \
                          a.data(), mean.data(), a.data(), b.data(), out.data(), N, P, C);         \
            Of<T>::print_maps(out);                                                                \
        }                                                                                          \
    }

int main() {
    printf("%ld\n", WIDTH);
    CHECK(bfloat16, Bfloat16)
    CHECK(float32, Float)
    CHECK(float64, Double)
}
