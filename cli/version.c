/* bertc --version: what this build is and has. */
#include "cli/cli.h"
#include "cli/output.h"
#include "core/base/cpu_features.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/runtime/composition.h"
#include "core/runtime/plugin.h"

#include <bert/thread_pool.h>
#include <bert/version.h>

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static void print_features(void) {
    bert_output_print("cpu:      ");
    for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
        if (bert_isa_present((bert_isa)isa)) bert_output_print(" %s", bert_isa_name((bert_isa)isa));
    }
    bert_isa selected;
    bert_error error;
    bool usable = bert_isa_select(&selected, &error) == BERT_OK;
    bert_output_print("; in use: %s; cores: %d\n", usable ? bert_isa_name(selected) : error.message,
                      bert_available_cores());
}

static void print_provider(const bert_backend *backend) {
    const bert_composition *parts = &bert_default_composition;
    const bert_log log = {0};
    const bert_host host = {.struct_size = sizeof host,
                            .abi_version = BERT_BACKEND_ABI_VERSION,
                            .allocator = &bert_default_allocator,
                            .log = &log,
                            .fail = bert_fail,
                            .fallback = backend == parts->reference ? NULL : parts->reference};
    bert_device *device;
    bert_error error;
    if (backend->device_open(&host, &device, &error) != BERT_OK) {
        bert_output_print("provider:  %s: not present: %s\n", backend->name, error.message);
        return;
    }
    bert_device_properties properties;
    backend->device_properties(device, &properties);
    bert_output_print("provider:  %s: %s\n", backend->name, properties.name);
    backend->device_close(device);
}

static void print_plugin(const char *name) {
    const bert_backend *backend;
    bert_error error;
    if (bert_plugin_open(name, &backend, &error) == BERT_OK)
        print_provider(backend);
    else
        bert_output_print("provider:  %s: not present: %s\n", name, error.message);
}

int bert_cli_version(void) {
    bert_output_print("bertc %s\n", bert_version());
    bert_output_print("build:     %s, %s\n", BERT_BUILD_OPTIONS, COMPILER);
    print_features();
    const bert_composition *parts = &bert_default_composition;
    for (size_t i = 0; i < parts->backend_count; i++) print_provider(parts->backends[i]);
    for (size_t i = 0; i < parts->plugin_count; i++) print_plugin(parts->plugins[i]);
    return BERT_EXIT_OK;
}
