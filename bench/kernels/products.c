#include "bench/kernels/products.h"

#include "bench/kernels/byte_cases.h"
#include "cpu/weight_memory.h"
#include "tests/support/worst.h"

#include <stdlib.h>
#include <string.h>

/* Together more than a third-level cache's share of one core. */
enum { WEIGHTS_BYTES = 96 * 1024 * 1024, MOST_WEIGHTS = 64, FLOAT_PROVIDERS = LAB_PROVIDER_QUANTIZED };

struct lab_product {
    const bert_cpu_kernels *kernels;
    lab_product_shape shape;
    const bert_gemm_provider *providers[FLOAT_PROVIDERS]; /* NULL: not here */
    int count, next;
    float *source; /* one weight, [k, n] */
    float *x, *y, *expected, *bias;
    void *workspace;
    uint8_t *bytes; /* x in 8 bits */
    float *x_scales;
    int32_t *x_zeros;
    bert_packed_weight weights[FLOAT_PROVIDERS][MOST_WEIGHTS];
    bert_weight_memory memory; /* of packed weights, as a model has them */
    bert_quantized_weight quantized[MOST_WEIGHTS];
    lab_bounded bounded[MOST_WEIGHTS];   /* for kernels that ask for bounded panels */
    bert_quantized_weight expected_from; /* the first as it was before it was bounded */
    float *scales;
    int32_t *zeros;
};

static void find_providers(lab_product *product) {
    product->providers[LAB_PROVIDER_OWN] = &bert_gemm_own;
    if (product->kernels->sgemm_split != bert_cpu_kernels_scalar.sgemm_split)
        product->providers[LAB_PROVIDER_SPLIT] = &bert_gemm_split;
    bert_openblas_open(&product->providers[LAB_PROVIDER_OPENBLAS], NULL);
    product->providers[LAB_PROVIDER_BF16_WEIGHTS] = &bert_gemm_bf16_weights;
    if (product->kernels->bgemm != bert_cpu_kernels_scalar.bgemm)
        product->providers[LAB_PROVIDER_BF16] = &bert_gemm_bf16;
}

const char *lab_product_provider(const lab_product *product, lab_provider provider) {
    if (provider == LAB_PROVIDER_QUANTIZED) return "quantized";
    return product->providers[provider] ? product->providers[provider]->name : NULL;
}

lab_peak lab_provider_peak(lab_provider provider) {
    if (provider == LAB_PROVIDER_QUANTIZED) return LAB_PEAK_INT8;
    return provider == LAB_PROVIDER_BF16 ? LAB_PEAK_BF16 : LAB_PEAK_FLOAT;
}

double lab_provider_tolerance(lab_provider provider) {
    return provider == LAB_PROVIDER_BF16 || provider == LAB_PROVIDER_BF16_WEIGHTS ? 2e-2 : 1e-4;
}

static bool pack_floats(lab_product *product, int provider, int index) {
    const bert_gemm_provider *how = product->providers[provider];
    const int64_t k = product->shape.k, n = product->shape.n;
    const bert_constant constant = {.id = 1,
                                    .dtype = BERT_FLOAT,
                                    .rank = 2,
                                    .dims = {k, n},
                                    .data = (const unsigned char *)product->source,
                                    .bytes = (size_t)(k * n) * sizeof(float),
                                    .alignment = 64};
    void *packed = bert_weight_memory_take(&product->memory, NULL, how->packed_bytes(product->kernels, k, n));
    if (!packed) return false;
    how->pack(product->kernels, NULL, packed, n, 0, &constant, false);
    product->weights[provider][index] = (bert_packed_weight){.count = 1, .k = k, .n = n, .data = packed};
    return true;
}

static int64_t steps_of(int64_t k) {
    return (k + BERT_QGEMM_STEP - 1) / BERT_QGEMM_STEP;
}

/* Of x in 8 bits. */
static size_t row_bytes(int64_t k) {
    return (size_t)bert_quantized_row_bytes(&(bert_quantized_weight){.steps = steps_of(k)});
}

/* Weights of columns that they are the whole of, without zero points. */
static bert_quantized_weight weight_of(const lab_product *product, const int8_t *panels) {
    return (bert_quantized_weight){.k = product->shape.k,
                                   .n = product->shape.n,
                                   .steps = steps_of(product->shape.k),
                                   .panels = panels,
                                   .scales = product->scales,
                                   .zeros = product->zeros,
                                   .offsets = product->zeros};
}

/* Random panels: of what values they hold only bounds take notice. */
static bool pack_bytes(lab_product *product, int index) {
    const int64_t steps = steps_of(product->shape.k);
    const int64_t panels = (product->shape.n + BERT_QGEMM_COLUMNS - 1) / BERT_QGEMM_COLUMNS;
    const int64_t bytes = panels * BERT_QGEMM_COLUMNS * steps * BERT_QGEMM_STEP;
    int8_t *values = bert_weight_memory_take(&product->memory, NULL, (size_t)bytes), *as_it_was = values;
    if (!values) return false;
    lab_fill_weights(values, bytes, (uint32_t)index);
    product->quantized[index] = weight_of(product, values);
    if (product->kernels->bounded_panels) {
        if (index == 0) {
            as_it_was = bert_weight_memory_take(&product->memory, NULL, (size_t)bytes);
            if (!as_it_was) return false;
            memcpy(as_it_was, values, (size_t)bytes);
        }
        if (!lab_bound_panels(values, panels, steps, &product->bounded[index])) return false;
        product->quantized[index].bounds = product->bounded[index].bounds;
        product->quantized[index].excess = product->bounded[index].excess;
    }
    if (index == 0) product->expected_from = weight_of(product, as_it_was);
    return true;
}

/* As much as the hungriest provider wants, on one thread. */
static size_t workspace_bytes(const lab_product *product, size_t rows) {
    const bert_packed_weight weight = {.k = product->shape.k, .n = product->shape.n};
    size_t most = 0;
    for (int i = 0; i < FLOAT_PROVIDERS; i++) {
        const bert_gemm_provider *provider = product->providers[i];
        const size_t bytes = provider ? bert_gemm_workspace_bytes(provider, &weight, rows, 1) : 0;
        if (bytes > most) most = bytes;
    }
    return most;
}

static bool allocate(lab_product *product, int64_t rows) {
    const int64_t k = product->shape.k, n = product->shape.n;
    product->source = lab_allocate((size_t)(k * n) * sizeof(float));
    product->x = lab_allocate((size_t)(rows * k) * sizeof(float));
    product->y = lab_allocate((size_t)(rows * n) * sizeof(float));
    product->expected = lab_allocate((size_t)(rows * n) * sizeof(float));
    product->bias = lab_allocate((size_t)n * sizeof(float));
    product->bytes = lab_allocate((size_t)rows * row_bytes(k));
    product->workspace = lab_allocate(workspace_bytes(product, (size_t)rows));
    product->x_scales = lab_allocate((size_t)rows * sizeof(float));
    product->x_zeros = lab_allocate((size_t)rows * sizeof(int32_t));
    product->scales = lab_allocate((size_t)n * sizeof(float));
    product->zeros = lab_allocate((size_t)n * sizeof(int32_t));
    return product->source && product->x && product->y && product->expected && product->bias && product->bytes &&
           product->workspace && product->x_scales && product->x_zeros && product->scales && product->zeros;
}

lab_product *lab_product_create(const bert_cpu_kernels *kernels, lab_product_shape shape, int64_t max_rows) {
    lab_product *product = calloc(1, sizeof *product);
    if (!product) return NULL;
    product->kernels = kernels;
    product->shape = shape;
    find_providers(product);
    bool done = allocate(product, max_rows);
    if (done) {
        lab_fill(product->source, shape.k * shape.n, 0.05F, 1);
        lab_fill(product->x, max_rows * shape.k, 1.0F, 2);
        lab_fill(product->bias, shape.n, 1.0F, 3);
        for (size_t i = 0; i < (size_t)max_rows * row_bytes(shape.k); i++) product->bytes[i] = (uint8_t)(i * 31);
        for (int64_t i = 0; i < max_rows; i++) product->x_scales[i] = 0.02F;
        for (int64_t i = 0; i < shape.n; i++) product->scales[i] = 0.001F;
    }
    const int64_t wanted = WEIGHTS_BYTES / (shape.k * shape.n * (int64_t)sizeof(float)) + 1;
    const int count = wanted < MOST_WEIGHTS ? (int)wanted : MOST_WEIGHTS;
    for (; done && product->count < count; product->count++) {
        for (int provider = 0; done && provider < FLOAT_PROVIDERS; provider++)
            if (product->providers[provider]) done = pack_floats(product, provider, product->count);
        done = done && pack_bytes(product, product->count);
    }
    if (done) return product;
    lab_product_free(product);
    return NULL;
}

void lab_product_free(lab_product *product) {
    if (!product) return;
    bert_weight_memory_free(&product->memory, NULL);
    for (int i = 0; i < MOST_WEIGHTS; i++) lab_free_bounded(&product->bounded[i]);
    void *const owned[] = {product->source,  product->x,      product->y,         product->expected,
                           product->bias,    product->bytes,  product->workspace, product->x_scales,
                           product->x_zeros, product->scales, product->zeros};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(product);
}

static bert_epilogue_args epilogue_of(const lab_product *product, float *y) {
    return (bert_epilogue_args){
        .y = y, .bias = product->bias, .stride = product->shape.n, .alpha = 1.0F, .activation = BERT_UNARY_IDENTITY};
}

static void run_bytes(const lab_product *product, const bert_cpu_kernels *kernels, const bert_quantized_weight *weight,
                      int64_t rows, float *y) {
    bert_gemm_quantized(
        &(bert_quantized_call){.kernels = kernels,
                               .weight = weight,
                               .x = {product->bytes, product->x_scales, product->x_zeros, product->x_zeros},
                               .rows = rows,
                               .epilogue = epilogue_of(product, y)});
}

static void run(const lab_product *product, lab_provider provider, int index, int64_t rows) {
    if (provider == LAB_PROVIDER_QUANTIZED) {
        run_bytes(product, product->kernels, &product->quantized[index], rows, product->y);
        return;
    }
    product->providers[provider]->run(&(bert_gemm_call){.kernels = product->kernels,
                                                        .weight = &product->weights[provider][index],
                                                        .model_bytes = SIZE_MAX, /* no cache is meant to keep it */
                                                        .x = product->x,
                                                        .rows = rows,
                                                        .workspace = product->workspace,
                                                        .epilogue = epilogue_of(product, product->y)});
}

/* y = x W + bias by the scalar kernel, from the weight as it was before packing. */
static void expect_floats(const lab_product *product, int64_t rows) {
    bert_cpu_kernels_scalar.sgemm(&(bert_sgemm_args){.c = product->expected,
                                                     .a = product->x,
                                                     .b = product->source,
                                                     .ldc = product->shape.n,
                                                     .lda = product->shape.k,
                                                     .ldb = product->shape.n,
                                                     .m = rows,
                                                     .n = product->shape.n,
                                                     .k = product->shape.k});
    for (int64_t i = 0; i < rows * product->shape.n; i++) product->expected[i] += product->bias[i % product->shape.n];
}

double lab_product_error(lab_product *product, lab_provider provider, int64_t rows) {
    run(product, provider, 0, rows);
    if (provider == LAB_PROVIDER_QUANTIZED)
        run_bytes(product, &bert_cpu_kernels_scalar, &product->expected_from, rows, product->expected);
    else
        expect_floats(product, rows);
    return worst_error(product->y, product->expected, rows * product->shape.n);
}

double lab_product_time(lab_product *product, lab_provider provider, int64_t rows) {
    product->next = (product->next + 1) % product->count;
    const double start = lab_seconds();
    run(product, provider, product->next, rows);
    return lab_seconds() - start;
}
