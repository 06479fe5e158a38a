/* See card.h. Which kernels there are, and which launches a card refuses. */
#include "card.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

card_faults card_fail;
char card_refusal[1024];
int card_refusals;
card current_card;

namespace {

/* What the compiler made of a kernel for one architecture, such as "90a". */
struct Code {
	std::string arch;
	int registers, shared;
};

/* A file's kernels, as its object registers them. */
struct Binary {
	std::vector<int> ptx; /* compute capabilities that it holds PTX of */
};

struct Kernel {
	std::string name;
	const Binary *binary;
	int dynamic = 48 << 10; /* bytes of dynamic shared memory that it may ask for */
};

std::map<std::string, std::vector<Code>> compiled;
std::set<std::string> launched;
std::mutex mutex; /* of all that is recorded, and of the kernels: ranks share them. Functions of this part need it */

/* By the host's function. Filled by constructors of other files, which may come before this file's. */
std::map<const void *, Kernel> &registered() {
	static std::map<const void *, Kernel> kernels;
	return kernels;
}

cudaError_t refuse(const Kernel &kernel, const std::string &why, cudaError_t error) {
	card_refusals++;
	snprintf(card_refusal, sizeof card_refusal, "%s: %s: %s", current_card.name, kernel.name.c_str(), why.c_str());
	return card_error(error);
}

/* Whether machine code for `arch` runs on the card: of the same generation and not newer; with an "a", of no other. */
bool runs(const std::string &arch) {
	const int number = atoi(arch.c_str());
	if (arch.back() == 'a') return number == current_card.arch;
	return number / 10 == current_card.arch / 10 && number <= current_card.arch;
}

/* The code that the card runs. For what the driver would make of PTX, the most that any code takes. False: none. */
bool find_code(const Kernel &kernel, Code *found) {
	const std::vector<Code> &all = compiled[kernel.name];
	*found = {};
	for (const Code &code : all)
		if (runs(code.arch) && (found->arch.empty() || code.arch > found->arch)) *found = code;
	if (!found->arch.empty()) return true;
	const std::vector<int> &ptx = kernel.binary->ptx;
	if (std::none_of(ptx.begin(), ptx.end(), [](int arch) { return arch <= current_card.arch; })) return false;
	for (const Code &code : all) {
		found->arch = "PTX";
		found->registers = std::max(found->registers, code.registers);
		found->shared = std::max(found->shared, code.shared);
	}
	return !all.empty();
}

std::string number(int n) {
	return std::to_string(n);
}

cudaError_t launch(const void *function, dim3 grid, dim3 block, size_t dynamic, unsigned n_attributes,
                   cudaStream_t stream) {
	const OwnMemory own;
	const std::lock_guard lock(mutex);
	Kernel &kernel = registered().at(function);
	Code code;
	if (card_fail.launch && kernel.name.find(card_fail.launch) != std::string::npos)
		return card_error(cudaErrorLaunchOutOfResources);
	if (!find_code(kernel, &code)) return refuse(kernel, "no code", cudaErrorNoKernelImageForDevice);
	const int threads = (int)(block.x * block.y * block.z), warps = (threads + 31) / 32;
	if (threads < 1 || threads > 1024 || grid.x < 1 || grid.x > INT32_MAX)
		return refuse(kernel, number((int)grid.x) + " blocks of " + number(threads), cudaErrorInvalidConfiguration);
	/* A warp gets its registers in pieces of 256. */
	if (warps * ((code.registers * 32 + 255) / 256 * 256) > 65536)
		return refuse(kernel, number(threads) + " threads of " + number(code.registers) + " registers",
		              cudaErrorLaunchOutOfResources);
	if ((int)dynamic > kernel.dynamic || (int)dynamic + code.shared > current_card.block << 10)
		return refuse(kernel, number((int)dynamic + code.shared) + " bytes of shared memory", cudaErrorInvalidValue);
	if (n_attributes > 0 && current_card.arch < 90) return refuse(kernel, "launch attributes", cudaErrorNotSupported);
	launched.insert(kernel.name);
	card_ran(kernel.name.c_str(), 0, stream);
	return cudaSuccess;
}

} // namespace

void card_read_compiler(const char *file) {
	std::ifstream in(file);
	std::string line, kernel, arch;
	while (std::getline(in, line)) {
		char name[512], of[16];
		if (sscanf(line.c_str(), "ptxas info : Compiling entry function '%511[^']' for 'sm_%15[^']'", name, of) == 2)
			kernel = name, arch = of;
		const size_t used = line.find("Used ");
		if (used == std::string::npos || kernel.empty()) continue;
		Code code = {arch, atoi(line.c_str() + used + 5), 0};
		const size_t shared = line.find(" bytes smem");
		if (shared != std::string::npos) code.shared = atoi(line.c_str() + line.rfind(' ', shared - 1) + 1);
		compiled[kernel].push_back(code);
		kernel.clear();
	}
}

void card_insert(const card *card) {
	current_card = *card, card_refusals = 0;
	for (auto &[function, kernel] : registered()) kernel.dynamic = 48 << 10;
}

int card_has_code(void) {
	Code ignored;
	int found = 0;
	for (const auto &[function, kernel] : registered()) {
		const std::vector<Code> &all = compiled[kernel.name];
		const bool special = std::all_of(all.begin(), all.end(), [](const Code &c) { return c.arch.back() == 'a'; });
		if (find_code(kernel, &ignored)) found = 1;
		else if (!kernel.binary->ptx.empty() || !special) return 0;
	}
	return found;
}

int card_kernels(void) {
	return (int)registered().size();
}

const char *card_never_launched(void) {
	for (const auto &[function, kernel] : registered())
		if (!launched.count(kernel.name)) return kernel.name.c_str();
	return nullptr;
}

extern "C" {

/* ---- kernels ---- */

void **__cudaRegisterFatBinary(void *wrapper) {
	/* As in CUDA's fatbinary_section.h: magic, version, and where the entries are. An entry begins with its kind (1 =
	 * PTX), its header's bytes and its content's; the compute capability is at byte 28. */
	const char *at = *(const char *const *)((const char *)wrapper + 8);
	uint64_t bytes;
	uint16_t header;
	memcpy(&header, at + 6, sizeof header), memcpy(&bytes, at + 8, sizeof bytes);
	Binary *binary = new Binary();
	const char *end = at + header + bytes;
	for (at += header; at < end;) {
		uint16_t kind;
		uint32_t entry, arch;
		uint64_t size;
		memcpy(&kind, at, sizeof kind), memcpy(&entry, at + 4, sizeof entry), memcpy(&size, at + 8, sizeof size);
		memcpy(&arch, at + 28, sizeof arch);
		if (kind == 1) binary->ptx.push_back((int)arch);
		at += entry + size;
	}
	return (void **)binary;
}
void __cudaRegisterFatBinaryEnd(void **) {
}
void __cudaUnregisterFatBinary(void **) {
}
void __cudaRegisterFunction(void **binary, const char *function, char *, const char *name, int, uint3 *, uint3 *,
                            dim3 *, dim3 *, int *) {
	registered()[function] = {name, (const Binary *)binary};
}

static thread_local struct {
	dim3 grid, block;
	size_t shared;
	cudaStream_t stream;
} pushed;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
	pushed = {grid, block, shared, stream};
	return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
	*grid = pushed.grid, *block = pushed.block, *shared = pushed.shared, *(cudaStream_t *)stream = pushed.stream;
	return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
	*kernel = (cudaKernel_t)function;
	return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **, size_t shared, cudaStream_t stream) {
	return launch(function, grid, block, shared, 0, stream);
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **, size_t shared,
                               cudaStream_t stream) {
	return launch((const void *)kernel, grid, block, shared, 0, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *function, void **) {
	return launch(function, c->gridDim, c->blockDim, c->dynamicSmemBytes, c->numAttrs, c->stream);
}
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value) {
	const OwnMemory own;
	const std::lock_guard lock(mutex);
	Kernel &kernel = registered().at(function);
	Code code;
	if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
	if (!find_code(kernel, &code)) return refuse(kernel, "no code", cudaErrorNoKernelImageForDevice);
	if (code.shared + value > current_card.block << 10)
		return refuse(kernel, number(code.shared + value) + " bytes of shared memory", cudaErrorInvalidValue);
	kernel.dynamic = value;
	return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *function) {
	const OwnMemory own;
	const std::lock_guard lock(mutex);
	Code code;
	if (card_fail.code || !find_code(registered().at(function), &code))
		return card_error(cudaErrorNoKernelImageForDevice);
	*attributes = {};
	return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveClusters(int *clusters, const void *, const cudaLaunchConfig_t *config) {
	const unsigned size = config->attrs[0].val.clusterDim.x;
	*clusters = current_card.arch >= 90 ? current_card.multiprocessors / (int)size : 0;
	return cudaSuccess;
}
}
