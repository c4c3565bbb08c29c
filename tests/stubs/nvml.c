/* A stand-in for libnvidia-ml.so.1, for the real NVML path without a GPU.
 *
 * STUB_NVML says what it reports: "DRIVER;NAME,MAJOR,MINOR,MIB;..." for any number of GPUs,
 * "error:N" to fail initialisation with NVML's error N, "hang" to never answer, "crash" to die.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_GPUS 16
#define NOT_FOUND 6

struct gpu { char name[96]; int major, minor; unsigned long long mib; };
struct memory { unsigned long long total, free, used; };

static struct gpu gpus[MAX_GPUS];
static unsigned count;
static char driver[81];

int nvmlInitWithFlags(unsigned flags)
{
    const char *text = getenv("STUB_NVML");
    static char copy[4096];
    char *part, *rest;
    (void)flags;
    if (text == NULL) return 9; /* driver not loaded */
    if (strncmp(text, "error:", 6) == 0) return atoi(text + 6);
    if (strcmp(text, "hang") == 0) for (;;) sleep(1);
    if (strcmp(text, "crash") == 0) abort();
    snprintf(copy, sizeof copy, "%s", text);
    part = strtok_r(copy, ";", &rest);
    snprintf(driver, sizeof driver, "%s", part ? part : "");
    for (count = 0; count < MAX_GPUS && (part = strtok_r(NULL, ";", &rest)); count++) {
        struct gpu *g = &gpus[count];
        if (sscanf(part, "%95[^,],%d,%d,%llu", g->name, &g->major, &g->minor, &g->mib) != 4)
            return 2; /* invalid argument */
    }
    return 0;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }

const char *nvmlErrorString(int code)
{
    return code == 18 ? "Driver/library version mismatch" : "stub error";
}

int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    snprintf(text, size, "%s", driver);
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *n) { *n = count; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    if (index >= count) return NOT_FOUND;
    *handle = &gpus[index];
    return 0;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned size)
{
    snprintf(text, size, "%s", ((struct gpu *)handle)->name);
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor)
{
    *major = ((struct gpu *)handle)->major;
    *minor = ((struct gpu *)handle)->minor;
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory)
{
    memory->total = ((struct gpu *)handle)->mib << 20;
    memory->used = 512ULL << 20;
    memory->free = memory->total - memory->used;
    return 0;
}
