/* How a Conv's kernel lies over its spatial axes, which every backend reads off the same attributes. */
#ifndef BERT_GRAPH_CONV_AXES_H
#define BERT_GRAPH_CONV_AXES_H

#include <bert/backend.h>
#include <string.h>

/** Dimensions of x, w and y before the spatial ones. */
enum { BERT_CONV_SPATIAL = 2, BERT_CONV_MAX_AXES = BERT_MAX_RANK - BERT_CONV_SPATIAL };

/** Values of auto_pad; BERT_CONV_PADS: none of them. */
enum { BERT_CONV_NOTSET, BERT_CONV_SAME_UPPER, BERT_CONV_SAME_LOWER, BERT_CONV_VALID, BERT_CONV_PADS };

/** One spatial axis: tap t of the kernel at place p meets element p stride + t dilation - before of x, or padding. */
typedef struct bert_conv_axis {
    int64_t size, taps, places; /**< Of x, w and y; taps from 1 on. */
    int64_t stride, dilation;   /**< From 1 to INT32_MAX. */
    int64_t before;             /**< Padding, from 0 on. What is behind follows from `places`. */
} bert_conv_axis;

static inline int bert_conv_auto_pad(const bert_attribute *attributes, size_t count) {
    static const char *const names[BERT_CONV_PADS] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    const char *name = bert_attribute_string(attributes, count, "auto_pad", "NOTSET");
    int way = 0;
    while (way < BERT_CONV_PADS && strcmp(name, names[way]) != 0) way++;
    return way;
}

/** `axes` numbers before x and as many behind it; NULL: none, or what auto_pad says. */
static inline const int64_t *bert_conv_pads(const bert_attribute *attributes, size_t count) {
    size_t listed;
    if (bert_conv_auto_pad(attributes, count) != BERT_CONV_NOTSET) return NULL;
    return bert_attribute_ints(attributes, count, "pads", &listed);
}

/** Of "strides" or "dilations", for an axis. Lists are as long as they have to be, which shape inference sees to. */
static inline int64_t bert_conv_step(const bert_attribute *attributes, size_t count, const char *name, int32_t axis) {
    size_t listed;
    const int64_t *steps = bert_attribute_ints(attributes, count, name, &listed);
    return steps ? steps[axis] : 1;
}

/** The axes of a Conv from x [_, _, sizes...] and w [_, _, taps...] to y [_, _, places...]. */
static inline void bert_conv_read_axes(const bert_attribute *attributes, size_t count, int32_t axes,
                                       const int64_t *x_dims, const int64_t *w_dims, const int64_t *y_dims,
                                       bert_conv_axis *out) {
    const int way = bert_conv_auto_pad(attributes, count);
    const int64_t *pads = bert_conv_pads(attributes, count);
    for (int32_t i = 0; i < axes; i++) {
        bert_conv_axis *axis = &out[i];
        axis->size = x_dims[BERT_CONV_SPATIAL + i];
        axis->taps = w_dims[BERT_CONV_SPATIAL + i];
        axis->places = y_dims[BERT_CONV_SPATIAL + i];
        axis->stride = bert_conv_step(attributes, count, "strides", i);
        axis->dilation = bert_conv_step(attributes, count, "dilations", i);
        axis->before = pads ? pads[i] : 0;
        if (way != BERT_CONV_SAME_UPPER && way != BERT_CONV_SAME_LOWER) continue;
        /* As many places as the stride alone gives: what they reach over the ends is padding. */
        const int64_t both = (axis->places - 1) * axis->stride + (axis->taps - 1) * axis->dilation + 1 - axis->size;
        if (both > 0) axis->before = way == BERT_CONV_SAME_UPPER ? both / 2 : both - both / 2;
    }
}

#endif
