/* A stand-in for NVIDIA's libnvidia-ml.so.1, for hosts without a GPU.
 *
 * It tells what the file named by RALLYPOINT_NVML_STUB says, and reads it anew at every call, so that a test can
 * change the hardware under a running agent. A line is "key=value"; a value may also be
 *   !N     the call returns NVML error N
 *   hang   the call never returns
 *   crash  the process dies of a segmentation fault
 * A key that is not there is a field that the GPU does not support.
 *
 * Events are lines "gpu type data instance" that a test appends to the file beside it, called the same with ".events".
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10 };
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
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { device_t device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event_t;
typedef struct { unsigned id, scope; long long time, latency; int type, status; unsigned long long value; } field_t;
/* Where in the file of events a set has got to, and whose events it wants. */
typedef struct { long offset; unsigned long long wanted[32]; } set_t;

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

/* "a,b,c" as numbers; how many there are, or minus the error. */
static int get_list(const char *key, unsigned long long *out, int most) {
    char value[VALUE_SIZE], *next = value;
    int status = get(key, value), count = 0;
    if (status != SUCCESS) return -status;
    while (*next && count < most) {
        out[count++] = strtoull(next, &next, 10);
        if (*next) next++;
    }
    return count;
}

int nvmlDeviceGetTotalEccErrors(device_t device, int kind, int counter, unsigned long long *out) {
    if (kind != 1) return INVALID_ARGUMENT;
    return get_number(field(device, counter == 0 ? "ecc_volatile" : "ecc_aggregate"), out);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device_t device, unsigned long long *out) {
    return get_number(field(device, "slowdown"), out);
}

int nvmlDeviceGetCurrPcieLinkWidth(device_t d, unsigned *out) { return get_unsigned(field(d, "pcie_width"), out); }
int nvmlDeviceGetMaxPcieLinkWidth(device_t d, unsigned *out) { return get_unsigned(field(d, "pcie_max_width"), out); }

int nvmlDeviceGetCurrPcieLinkGeneration(device_t d, unsigned *out) {
    return get_unsigned(field(d, "pcie_generation"), out);
}

int nvmlDeviceGetMaxPcieLinkGeneration(device_t d, unsigned *out) {
    return get_unsigned(field(d, "pcie_max_generation"), out);
}

int nvmlDeviceGetRetiredPages(device_t device, int cause, unsigned *count, unsigned long long *addresses) {
    unsigned pages = 0, room = *count;
    int status = cause == 1 ? get_unsigned(field(device, "retired_pages"), &pages) : SUCCESS;
    if (status != SUCCESS) return status;
    *count = pages;
    if (!addresses || room < pages) return pages ? INSUFFICIENT_SIZE : SUCCESS;
    for (unsigned page = 0; page < pages; page++) addresses[page] = page;
    return SUCCESS;
}

int nvmlDeviceGetRetiredPagesPendingStatus(device_t device, unsigned *out) {
    return get_unsigned(field(device, "retirement_pending"), out);
}

/* A process is "pid:bytes". */
int nvmlDeviceGetComputeRunningProcesses_v3(device_t device, unsigned *count, process_t *out) {
    unsigned long long numbers[64];
    int found = get_list(field(device, "processes"), numbers, 64);
    unsigned room = *count;
    if (found < 0) return -found;
    *count = (unsigned)found / 2;
    if (*count && (!out || room < *count)) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++)
        out[i] = (process_t){(unsigned)numbers[2 * i], numbers[2 * i + 1], 0xffffffff, 0xffffffff};
    return SUCCESS;
}

int nvmlDeviceGetSupportedEventTypes(device_t device, unsigned long long *out) {
    return get_number(field(device, "events"), out);
}

static FILE *open_events(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s.events", getenv("RALLYPOINT_NVML_STUB"));
    return fopen(path, "r");
}

int nvmlEventSetCreate(set_t **out) {
    FILE *file = open_events();
    *out = calloc(1, sizeof **out);
    if (file) fseek(file, 0, SEEK_END), (*out)->offset = ftell(file), fclose(file);
    return SUCCESS;
}

int nvmlEventSetFree(set_t *set) { free(set); return SUCCESS; }

int nvmlDeviceRegisterEvents(device_t device, unsigned long long types, set_t *set) {
    unsigned long index = (unsigned long)device - 1;
    if (index >= 32) return INVALID_ARGUMENT;
    set->wanted[index] |= types;
    return SUCCESS;
}

static int next_event(set_t *set, event_t *out) {
    FILE *file = open_events();
    char line[VALUE_SIZE];
    unsigned gpu;
    int found = 0;
    if (!file) return 0;
    fseek(file, set->offset, SEEK_SET);
    while (!found && fgets(line, sizeof line, file) && strchr(line, '\n')) {
        set->offset = ftell(file);
        out->gpu_instance = out->compute_instance = 0xffffffff;
        if (sscanf(line, "%u %llu %llu %u", &gpu, &out->type, &out->data, &out->gpu_instance) < 3 || gpu >= 32) continue;
        out->device = (device_t)(unsigned long)(gpu + 1);
        found = (set->wanted[gpu] & out->type) != 0;
    }
    fclose(file);
    return found;
}

int nvmlEventSetWait_v2(set_t *set, event_t *out, unsigned milliseconds) {
    const struct timespec pause = {0, 20000000};
    char value[VALUE_SIZE];
    int status = get("wait", value);
    if (status != SUCCESS && status != NOT_SUPPORTED) return status;
    for (long left = milliseconds; left > 0; left -= 20) {
        if (next_event(set, out)) return SUCCESS;
        nanosleep(&pause, NULL);
    }
    return TIMEOUT;
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
    if (status == SUCCESS && link >= 18) return INVALID_ARGUMENT;
    *active = link < up;
    return status;
}

int nvmlDeviceGetGpuInstanceId(device_t device, unsigned *out) {
    if ((unsigned long)device <= 0xffff) return NOT_SUPPORTED;
    *out = (unsigned)((unsigned long)device >> 16);
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(device_t device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    unsigned long long rows[4] = {0, 0, 0, 0};
    int found = get_list(field(device, "remapped"), rows, 4);
    if (found < 0) return -found;
    *corrected = (unsigned)rows[0], *uncorrected = (unsigned)rows[1];
    *pending = (unsigned)rows[2], *failed = (unsigned)rows[3];
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(device_t device, unsigned long long *out) {
    return nvmlDeviceGetCurrentClocksThrottleReasons(device, out);
}

/* All errors of a GPU's links are those of its first: replays, recoveries. */
int nvmlDeviceGetFieldValues(device_t device, int count, field_t *fields) {
    for (int i = 0; i < count; i++) {
        unsigned long long values[2] = {0, 0};
        int recovery = fields[i].id == 230, link = fields[i].id == 161 || fields[i].id == 162;
        const char *name = field(device, recovery ? "recovery_action" : "link_errors");
        int found = recovery || link ? get_list(name, values, 2) : -NOT_SUPPORTED;
        fields[i].status = found < 0 ? -found : SUCCESS;
        fields[i].type = recovery ? 1 : 3; /* unsigned int, unsigned long long */
        fields[i].value = fields[i].scope ? 0 : values[fields[i].id == 162];
        if (fields[i].status == 15 || fields[i].status == 16) return fields[i].status;
    }
    return SUCCESS;
}
#endif
