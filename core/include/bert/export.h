/* Marks what libbertc exports. Everything else is built with hidden visibility. */
#ifndef BERT_EXPORT_H
#define BERT_EXPORT_H

#if defined(__GNUC__) || defined(__clang__)
#define BERT_API __attribute__((visibility("default")))
#define BERT_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define BERT_API
#define BERT_PRINTF(format_index, first_argument)
#endif

#endif
