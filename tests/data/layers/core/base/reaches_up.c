/* Reaches up a layer: tests/check_layers.sh must say so. */
#include "core/base/error.h"
#include "core/graph/graph.h"
#include <bert/status.h>
