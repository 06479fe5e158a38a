/*
 * device.c - fg_devices and fg_device of the CPU library.
 */
#include "../error.h"
#include "kernels.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

FG_API fg_status fg_devices(int32_t *count) {
	if (!count) return fg_fail(FG_INVALID, "count is NULL");
	*count = 1;
	return FG_OK;
}

/* The value of "key : value" (or "key: value") in a file of /proc; empty when there is none. */
static void read_field(const char *path, const char *key, char *value, size_t bytes) {
	char line[256];
	*value = 0;
	FILE *file = fopen(path, "r");
	if (!file) return;
	while (fgets(line, sizeof line, file)) {
		if (strncmp(line, key, strlen(key))) continue;
		char *start = strchr(line, ':');
		if (!start) continue;
		start += 1 + strspn(start + 1, " \t");
		start[strcspn(start, "\n")] = 0;
		snprintf(value, bytes, "%s", start);
		break;
	}
	fclose(file);
}

FG_API fg_status fg_device(int32_t device, fg_device_info *info) {
	if (device != 0 || !info) return fg_fail(FG_INVALID, "device is %d or info is NULL; the CPU is device 0", device);
	const fg_kernels *kernels = fg_kernels_choose();
	if (!kernels) return FG_INVALID;
	char model[96], available[64];
	unsigned long long kib = 0;
	read_field("/proc/cpuinfo", "model name", model, sizeof model);
	read_field("/proc/meminfo", "MemAvailable", available, sizeof available);
	memset(info, 0, sizeof *info);
	snprintf(info->name, sizeof info->name, "%s (%s)", *model ? model : "CPU", kernels->isa);
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	info->memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
	info->free_bytes = sscanf(available, "%llu", &kib) == 1 ? kib * 1024 : info->memory_bytes;
	return FG_OK;
}
