#include "tokenizer/unicode.h"

const bert_unicode_range bert_unicode_flag_exceptions[] = {{0x110000, 0x110000, 0}};
const size_t bert_unicode_flag_exception_count = 1;
const bert_unicode_range bert_unicode_class_exceptions[] = {{0x110000, 0x110000, 0}};
const size_t bert_unicode_class_exception_count = 1;
const bert_unicode_mapping bert_unicode_decomposition_exceptions[] = {{0x110000, {0}}};
const size_t bert_unicode_decomposition_exception_count = 1;
const bert_unicode_mapping bert_unicode_lowercase_exceptions[] = {{0x110000, {0}}};
const size_t bert_unicode_lowercase_exception_count = 1;
