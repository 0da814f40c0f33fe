/* cmocka with the headers that it wants before it. */
#ifndef BERT_TESTS_SUPPORT_TEST_H
#define BERT_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
