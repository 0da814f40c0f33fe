/* The list of faults. */
#include "tests/cuda_emulator/internal.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_KEPT = 64 };
static bert_emulator_fault kept[MOST_KEPT];
static size_t total;

void emu_report(bert_emulator_kind kind, const emu_thread *thread, void *code, const char *format, ...) {
    if (total++ >= MOST_KEPT) return;
    bert_emulator_fault *fault = &kept[total - 1];
    const emu_dim3 block = (thread ? thread->block : emu.blocks)->index;
    *fault = (bert_emulator_fault){.kind = kind, .block = {block.x, block.y, block.z}, .code = code};
    snprintf(fault->kernel, sizeof fault->kernel, "%s", emu.name ? emu.name : "");
    if (thread) {
        fault->thread[0] = thread->index.x;
        fault->thread[1] = thread->index.y;
        fault->thread[2] = thread->index.z;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fault->message, sizeof fault->message, format, arguments);
    va_end(arguments);
}

size_t bert_emulator_fault_count(void) {
    return total;
}

const bert_emulator_fault *bert_emulator_fault_at(size_t index) {
    return index < total && index < MOST_KEPT ? &kept[index] : NULL;
}

void bert_emulator_clear(void) {
    total = 0;
}

/* "FILE:LINE" of an address, by addr2line where it is installed; else the address. */
static void place_of(const void *code, char *out, size_t size) {
    extern const char __ehdr_start[] __attribute__((visibility("hidden")));
    char command[512];
    Dl_info file; /* the program, or the plug-in that the emulator is part of */
    snprintf(out, size, "%p", code);
    if (!dladdr(__ehdr_start, &file) || !file.dli_fname) return;
    /* The linker places a position-independent program from 0 on; the call is before the return address. */
    snprintf(command, sizeof command, "addr2line -e '%s' %#tx 2>/dev/null", file.dli_fname,
             (const char *)code - __ehdr_start - 1);
    FILE *pipe = popen(command, "r");
    if (!pipe) return;
    char line[256];
    if (fgets(line, sizeof line, pipe) && line[0] != '?') {
        line[strcspn(line, "\n")] = 0;
        snprintf(out, size, "%s", line);
    }
    pclose(pipe);
}

void bert_emulator_describe(const bert_emulator_fault *fault, char *out, size_t size) {
    static const char *const names[] = {"out of bounds", "misaligned", "race",      "uninitialized",
                                        "divergence",    "bad lane",   "too early", "less shared"};
    char place[256] = "";
    if (fault->code) place_of(fault->code, place, sizeof place);
    snprintf(out, size, "%s: %s, block (%u, %u, %u), thread (%u, %u, %u) %s%s%s", names[fault->kind], fault->kernel,
             fault->block[0], fault->block[1], fault->block[2], fault->thread[0], fault->thread[1], fault->thread[2],
             fault->message, place[0] ? " at " : "", place);
}

void bert_emulator_print(void) {
    for (size_t i = 0; bert_emulator_fault_at(i); i++) {
        char line[1024];
        bert_emulator_describe(bert_emulator_fault_at(i), line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
    if (total > MOST_KEPT) fprintf(stderr, "and %zu more\n", total - MOST_KEPT);
}
