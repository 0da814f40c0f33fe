#include "core/runtime/options.h"

#include "core/base/error.h"

#include <string.h>

bert_status bert_read_options(void *out, size_t size, const void *options, const char *what, bert_error *error) {
    memset(out, 0, size);
    if (!options) {
        memcpy(out, &size, sizeof size);
        return BERT_OK;
    }
    size_t given;
    memcpy(&given, options, sizeof given);
    if (given < sizeof given) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "struct_size of %s is %zu: set it to sizeof(%s)", what, given,
                         what);
    }
    const unsigned char *bytes = options;
    for (size_t i = size; i < given; i++) {
        if (bytes[i] == 0) continue;
        return bert_fail(error, BERT_UNSUPPORTED, "%s sets an option that this version of bert.c does not know", what);
    }
    memcpy(out, options, given < size ? given : size);
    memcpy(out, &size, sizeof size);
    return BERT_OK;
}
