/* How a Conv's kernel lies over its spatial axes, which every backend reads off the same attributes. */
#ifndef BERT_GRAPH_CONV_AXES_H
#define BERT_GRAPH_CONV_AXES_H

#include <bert/backend.h>
#include <string.h>

/** Dimensions of x, w and y before the spatial ones. */
enum { BERT_CONV_SPATIAL = 2, BERT_CONV_MAX_AXES = BERT_MAX_RANK - BERT_CONV_SPATIAL };

/** One spatial axis: tap t of the kernel at place p meets element p stride + t dilation - before of x, or padding. */
typedef struct bert_conv_axis {
    int64_t size, taps, places; /**< Of x, w and y; taps from 1 on. */
    int64_t stride, dilation;   /**< From 1 to INT32_MAX. */
    int64_t before, after;      /**< Padding, from 0 on. */
} bert_conv_axis;

/** What attributes alone say of `axes` axes: their sizes are 0 here, and with auto_pad there is no padding yet. Lists
 * are as long as they have to be, which shape inference has seen to. */
static inline void bert_conv_read_attributes(const bert_attribute *attributes, size_t count, int32_t axes,
                                             bert_conv_axis *out) {
    size_t listed;
    const int64_t *strides = bert_attribute_ints(attributes, count, "strides", &listed);
    const int64_t *dilations = bert_attribute_ints(attributes, count, "dilations", &listed);
    const int64_t *pads = bert_attribute_ints(attributes, count, "pads", &listed);
    if (strcmp(bert_attribute_string(attributes, count, "auto_pad", "NOTSET"), "NOTSET") != 0) pads = NULL;
    for (int32_t i = 0; i < axes; i++) {
        out[i].size = out[i].taps = out[i].places = 0;
        out[i].stride = strides ? strides[i] : 1;
        out[i].dilation = dilations ? dilations[i] : 1;
        out[i].before = pads ? pads[i] : 0;
        out[i].after = pads ? pads[i + axes] : 0;
    }
}

/** The axes of a Conv from x [_, _, sizes...] and w [_, _, taps...] to y [_, _, places...]. */
static inline void bert_conv_read_axes(const bert_attribute *attributes, size_t count, int32_t axes,
                                       const int64_t *x_dims, const int64_t *w_dims, const int64_t *y_dims,
                                       bert_conv_axis *out) {
    const char *way = bert_attribute_string(attributes, count, "auto_pad", "NOTSET");
    const int upper = strcmp(way, "SAME_UPPER") == 0, same = upper || strcmp(way, "SAME_LOWER") == 0;
    bert_conv_read_attributes(attributes, count, axes, out);
    for (int32_t i = 0; i < axes; i++) {
        bert_conv_axis *axis = &out[i];
        axis->size = x_dims[BERT_CONV_SPATIAL + i];
        axis->taps = w_dims[BERT_CONV_SPATIAL + i];
        axis->places = y_dims[BERT_CONV_SPATIAL + i];
        /* As many places as the stride alone gives: what they reach over the ends is padding. */
        const int64_t both = (axis->places - 1) * axis->stride + (axis->taps - 1) * axis->dilation + 1 - axis->size;
        if (!same || both <= 0) continue;
        axis->before = upper ? both / 2 : both - both / 2;
        axis->after = both - axis->before;
    }
}

#endif
