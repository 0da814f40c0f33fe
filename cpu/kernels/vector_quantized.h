/*
 * Sums that are quantized and dequantized on the way, over the vectors of vector_avx2.h or vector_avx512.h. Included by
 * vector_kernels.h alone.
 */
#include "cpu/kernels/by_inverse.h"

/* A bert_requantization in vectors. */
typedef struct requantization {
    v_float scale, inverse, low, high; /* low and high: beyond them bytes are full */
    v_float least, most, shift, new_scale;
} requantization;

V_ALWAYS_INLINE requantization requantization_of(const bert_requantization *by) {
    if (!by) return (requantization){.scale = v_set(1.0F)}; /* not used */
    const float scale = by->scale;
    return (requantization){.scale = v_set(scale),
                            .inverse = v_set(1.0F / scale),
                            .low = v_set(-512.0F * scale),
                            .high = v_set(512.0F * scale),
                            .least = v_set(by->least),
                            .most = v_set(by->most),
                            .shift = v_set(by->shift),
                            .new_scale = v_set(by->new_scale)};
}

/* `divide`: not by_inverse. v_max keeps its second operand for NaN, which so becomes the least. */
V_ALWAYS_INLINE v_float requantize(v_float x, const requantization *by, const bool divide) {
    v_float ratio;
    if (divide) {
        ratio = v_div(x, by->scale);
    } else {
        x = v_min(v_max(x, by->low), by->high);
        ratio = v_mul(x, by->inverse);
        ratio = v_fma(v_fnma(by->scale, ratio, x), by->inverse, ratio);
    }
    const v_float whole = v_min(v_max(v_round(ratio), by->least), by->most);
    return v_mul(v_add(whole, by->shift), by->new_scale);
}

V_ALWAYS_INLINE void quantized_add_loop(const bert_quantized_add_args *args, const bool of_a, const bool of_y,
                                        const bool divide) {
    const requantization a_by = requantization_of(args->a_by), y_by = requantization_of(args->y_by);
    const v_float first_a = v_set(args->n ? *args->a : 0.0F), first_b = v_set(args->n ? *args->b : 0.0F);
    for (int64_t i = 0; i < args->n; i += V_WIDTH) {
        const bool whole = args->n - i >= V_WIDTH;
        const v_mask lanes = v_first(whole ? V_WIDTH : args->n - i);
        v_float a = first_a, b = first_b;
        if (args->a_stride) a = whole ? v_load(args->a + i) : v_load_first(args->a + i, lanes);
        if (args->b_stride) b = whole ? v_load(args->b + i) : v_load_first(args->b + i, lanes);
        if (of_a) a = requantize(a, &a_by, divide);
        v_float y = v_add(a, b);
        if (of_y) y = requantize(y, &y_by, divide);
        if (whole)
            v_store(args->y + i, y);
        else
            v_store_first(args->y + i, lanes, y);
    }
}

static void quantized_add(const bert_quantized_add_args *args) {
    const bool divide =
        (args->a_by && !by_inverse(args->a_by->scale)) || (args->y_by && !by_inverse(args->y_by->scale));
    if (divide)
        quantized_add_loop(args, args->a_by != NULL, args->y_by != NULL, true);
    else if (args->a_by && args->y_by)
        quantized_add_loop(args, true, true, false);
    else if (args->a_by)
        quantized_add_loop(args, true, false, false);
    else
        quantized_add_loop(args, false, args->y_by != NULL, false);
}
