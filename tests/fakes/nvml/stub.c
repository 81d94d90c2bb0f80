/* A stand-in for NVIDIA's libnvidia-ml.so.1, for hosts without a GPU.
 *
 * It tells what the file named by RALLYPOINT_NVML_STUB says, and reads it anew at every call, so that a test can
 * change the hardware under a running agent. A line is "key=value"; a value may also be
 *   !N     the call returns NVML error N
 *   hang   the call never returns
 *   crash  the process dies of a segmentation fault
 * A key that is not there is a field that the GPU does not support.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { VALUE_SIZE = 160 };

typedef void *device_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned version; unsigned sensor; int celsius; } temperature_t;
typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} pci_t;

static int find(const char *key, char *value) {
    const char *path = getenv("RALLYPOINT_NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[VALUE_SIZE * 2];
    size_t length = strlen(key);
    int found = NOT_SUPPORTED;
    if (!file) return 9; /* no scenario: as if the driver were not loaded */
    while (found != SUCCESS && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == '=') {
            snprintf(value, VALUE_SIZE, "%.*s", (int)strcspn(line + length + 1, "\n"), line + length + 1);
            found = SUCCESS;
        }
    fclose(file);
    return found;
}

static int get(const char *key, char *value) {
    int found = find(key, value);
    if (found != SUCCESS) return found;
    if (value[0] == '!') return atoi(value + 1);
    if (!strcmp(value, "hang")) for (;;) pause();
    if (!strcmp(value, "crash")) raise(SIGSEGV);
    return SUCCESS;
}

static int get_text(const char *key, char *out, unsigned size) {
    char value[VALUE_SIZE];
    int status = get(key, value);
    if (status != SUCCESS) return status;
    if (strlen(value) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

static int get_number(const char *key, unsigned long long *out) {
    char value[VALUE_SIZE];
    int status = get(key, value);
    if (status == SUCCESS) *out = strtoull(value, NULL, 10);
    return status;
}

static int get_unsigned(const char *key, unsigned *out) {
    unsigned long long number = 0;
    int status = get_number(key, &number);
    if (status == SUCCESS) *out = (unsigned)number;
    return status;
}

/* Handles are the index plus one, so that index 0 is no null pointer; a MIG instance has its own number above that. */
static const char *field(device_t device, const char *name) {
    static _Thread_local char key[64];
    unsigned long gpu = ((unsigned long)device & 0xffff) - 1, mig = (unsigned long)device >> 16;
    if (mig) snprintf(key, sizeof key, "gpu.%lu.mig.%lu.%s", gpu, mig - 1, name);
    else snprintf(key, sizeof key, "gpu.%lu.%s", gpu, name);
    return key;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; char value[VALUE_SIZE]; return get("init", value); }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int error) {
    static _Thread_local char text[32];
    snprintf(text, sizeof text, "stub error %d", error);
    return text;
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) { return get_text("driver", out, size); }
int nvmlSystemGetCudaDriverVersion(int *out) { return get_unsigned("cuda", (unsigned *)out); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { return nvmlSystemGetCudaDriverVersion(out); }
int nvmlDeviceGetCount_v2(unsigned *out) { return get_unsigned("count", out); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *out) {
    char value[VALUE_SIZE];
    *out = (device_t)(unsigned long)(index + 1);
    int status = get(field(*out, "handle"), value);
    return status == NOT_SUPPORTED ? INVALID_ARGUMENT : status;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t *out) {
    unsigned count = 0;
    char value[VALUE_SIZE];
    nvmlDeviceGetCount_v2(&count);
    for (unsigned index = 0; index < count; index++) {
        *out = (device_t)(unsigned long)(index + 1);
        if (get(field(*out, "uuid"), value) == SUCCESS && !strcmp(value, uuid)) return SUCCESS;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(device_t device, unsigned *out) { *out = (unsigned long)device - 1; return SUCCESS; }
int nvmlDeviceGetUUID(device_t d, char *out, unsigned size) { return get_text(field(d, "uuid"), out, size); }
int nvmlDeviceGetName(device_t d, char *out, unsigned size) { return get_text(field(d, "name"), out, size); }

int nvmlDeviceGetPciInfo_v3(device_t device, pci_t *out) {
    memset(out, 0, sizeof *out);
    return get_text(field(device, "pci_bus"), out->bus_id, sizeof out->bus_id);
}

int nvmlDeviceGetMemoryInfo(device_t device, memory_t *out) {
    int status = get_number(field(device, "memory"), &out->total);
    if (status == SUCCESS) status = get_number(field(device, "memory_used"), &out->used);
    out->free = out->total - out->used;
    return status;
}

int nvmlDeviceGetMemoryInfo_v2(device_t device, memory_v2_t *out) {
    memory_t plain = {0, 0, 0};
    int status = nvmlDeviceGetMemoryInfo(device, &plain);
    out->total = plain.total, out->used = plain.used, out->free = plain.free, out->reserved = 0;
    return status;
}

int nvmlDeviceGetCudaComputeCapability(device_t device, int *major, int *minor) {
    char value[VALUE_SIZE];
    int status = get(field(device, "compute_capability"), value);
    if (status == SUCCESS && sscanf(value, "%d.%d", major, minor) != 2) return INVALID_ARGUMENT;
    return status;
}

int nvmlDeviceGetPowerManagementLimit(device_t d, unsigned *out) { return get_unsigned(field(d, "power_limit"), out); }
int nvmlDeviceGetEnforcedPowerLimit(device_t d, unsigned *out) { return get_unsigned(field(d, "enforced_limit"), out); }
int nvmlDeviceGetPowerUsage(device_t d, unsigned *out) { return get_unsigned(field(d, "power"), out); }

int nvmlDeviceGetTemperature(device_t device, unsigned sensor, unsigned *out) {
    (void)sensor;
    return get_unsigned(field(device, "temperature"), out);
}

int nvmlDeviceGetTemperatureV(device_t device, temperature_t *out) {
    return get_unsigned(field(device, "temperature"), (unsigned *)&out->celsius);
}

int nvmlDeviceGetUtilizationRates(device_t device, utilization_t *out) {
    out->memory = 0;
    return get_unsigned(field(device, "utilization"), &out->gpu);
}

#ifndef OLD /* a driver from before these */
int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending) {
    int status = get_unsigned(field(device, "mig_mode"), current);
    *pending = *current;
    return status;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *out) { (void)device; *out = 7; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(device_t device, unsigned index, device_t *out) {
    char value[VALUE_SIZE];
    *out = (device_t)((unsigned long)device | (unsigned long)(index + 1) << 16);
    return find(field(*out, "uuid"), value) == SUCCESS ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetNvLinkState(device_t device, unsigned link, unsigned *active) {
    unsigned up = 0;
    int status = get_unsigned(field(device, "nvlinks"), &up);
    *active = link < up;
    return status == SUCCESS && link >= 18 ? INVALID_ARGUMENT : status;
}
#endif
