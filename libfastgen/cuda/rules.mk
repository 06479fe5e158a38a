# libfastgen_cuda.so: `make cuda`. Needs nvcc of CUDA 12.9 or newer (from CUDA_HOME, the PATH or /usr/local/cuda) and the headers of
# cuBLASLt and CUPTI; the libraries themselves are opened at run time, and no GPU is needed to build.

NVCC ?= $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA_ROOT = $(patsubst %/bin/,%,$(dir $(realpath $(NVCC))))
# Compute capabilities to build for; 90a has Hopper's own instructions.
CUDA_ARCHS ?= 80 89 90a 100
# PTX for devices that come after these: their driver compiles it when it is first used (12.x and later). Empty: none.
CUDA_PTX ?= 90
# The test programs' own kernels, which run on the machine that they are built on.
CUDA_TEST_ARCHS ?= $(CUDA_ARCHS)
gencode = $(foreach arch,$(1),-gencode=arch=compute_$(arch),code=sm_$(arch)) \
	$(foreach arch,$(2),-gencode=arch=compute_$(arch),code=compute_$(arch))
NVCCFLAGS = -std=c++20 -O3 -lineinfo -I$(CUDA_ROOT)/include -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra -MMD -MP
# As sample_math.h demands, so that sampling gives the same bits as on the CPU.
NVCCFLAGS += -ftz=false -prec-div=true
# C++ without kernels. CUPTI's headers lie beside CUDA's, or in a folder of their own.
override CXXFLAGS += -std=c++20 -g1 -Wall -Wextra $(WERROR) -isystem $(CUDA_ROOT)/include -isystem $(CUDA_ROOT)/extras/CUPTI/include -MMD -MP
ifdef WERROR
NVCCFLAGS += -Werror all-warnings -Xcompiler -Werror
endif

CUDA_SOURCES := copies device_memory elementwise imports marks ops pinned quantise sleep step tensor_map weights \
	$(addprefix attention/,attention decode prefill) $(addprefix products/,cublaslt gemm gemm_w8a16 gemv gemv_fp8 tune widen) \
	$(addprefix ranks/,nccl peers ranks) $(addprefix sampling/,sample slots)
SM90_SOURCES := attention/prefill_sm90 products/gemm_sm90
CUDA_OBJECTS := $(patsubst %,$(OBJ)/cuda/%.o,$(CUDA_SOURCES) $(SM90_SOURCES) cupti libraries) $(patsubst %,$(OBJ)/%.o,$(SHARED))

.PHONY: cuda cuda-tests cards card-races
cuda: $(BUILD)/libfastgen_cuda.so

# Not a target: a phony one would make everything look out of date.
need-nvcc = test -n "$(NVCC)" || { echo "error: no nvcc. Install CUDA 12.9 or newer and set CUDA_HOME, or run scripts/fetch-cuda.sh and set CUDA_HOME to what it prints"; exit 1; }

$(BUILD)/libfastgen_cuda.so: $(CUDA_OBJECTS) cuda/rules.mk
	$(NVCC) -shared -cudart static -o $@.new $(filter %.o,$^) -L$(CUDA_ROOT)/lib64 -L$(CUDA_ROOT)/lib -lpthread -ldl -lrt \
		-Xlinker --exclude-libs,ALL -Xcompiler -static-libstdc++,-static-libgcc
	mv $@.new $@

$(OBJ)/cuda/libraries.o: cuda/libraries.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(OBJ)/cuda/cupti.o: cuda/cupti.cpp Makefile
	@$(need-nvcc)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -O2 -fPIC -fvisibility=hidden -c -o $@ $<

$(patsubst %,$(OBJ)/cuda/%.o,$(SM90_SOURCES)): CUDA_ARCHS := 90a
$(patsubst %,$(OBJ)/cuda/%.o,$(SM90_SOURCES)): CUDA_PTX :=
$(OBJ)/cuda/%.o: cuda/%.cu Makefile cuda/rules.mk
	@$(need-nvcc)
	@mkdir -p $(@D)
	@# What ptxas says of each kernel is kept for cards_test; warnings are shown.
	$(NVCC) $(NVCCFLAGS) $(call gencode,$(CUDA_ARCHS),$(CUDA_PTX)) -Xptxas -v -c -o $@ $< 2>$(@:.o=.ptxas) || \
		{ cat $(@:.o=.ptxas) >&2; rm -f $@; exit 1; }
	@grep -v -e '^ptxas info' -e '^ *[0-9]* bytes stack frame' $(@:.o=.ptxas) >&2 || true

# Programs that test single ops on a GPU, run there by hand or by `bun test`.
define link-cuda-test
$(NVCC) $(NVCCFLAGS) $(call gencode,$(CUDA_TEST_ARCHS)) -MF $(OBJ)/$(@F).d -o $@ $(filter %.cu %.o,$^) -cudart static \
	-L$(CUDA_ROOT)/lib64 -L$(CUDA_ROOT)/lib -lpthread -ldl -lrt
endef

cuda-tests: $(BUILD)/attention_test $(BUILD)/fp8_test $(BUILD)/gemm_test $(BUILD)/ipc_test $(BUILD)/masks_test_cuda $(BUILD)/update_test_cuda $(BUILD)/peers_test $(BUILD)/sample_test_cuda $(BUILD)/ops_bench $(BUILD)/ops_test $(BUILD)/update_bench

$(BUILD)/attention_test: test/attention_test.cu $(patsubst %,$(OBJ)/cuda/%.o,attention/decode attention/prefill attention/prefill_sm90 tensor_map) cuda/rules.mk
	$(link-cuda-test)

$(BUILD)/fp8_test: test/fp8_test.cu test/compare.cuh $(CUDA_OBJECTS) cuda/rules.mk
	$(link-cuda-test)

$(BUILD)/gemm_test: test/gemm_test.cu test/compare.cuh $(patsubst %,$(OBJ)/cuda/%.o,products/gemm_sm90 products/gemm_w8a16 products/gemv products/gemv_fp8 tensor_map) cuda/rules.mk
	$(link-cuda-test)

# The CPU library's tests that see only fastgen.h.
$(BUILD)/masks_test_cuda $(BUILD)/update_test_cuda: $(BUILD)/%_cuda: test/%.c $(BUILD)/libfastgen_cuda.so Makefile
	$(CC) $(CFLAGS) -DON_GPU -MF $(OBJ)/$(@F).d -o $@ $< -L$(BUILD) -l:libfastgen_cuda.so -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) $(LDLIBS)

# Times loading, sleeping and waking, through fastgen.h.
$(BUILD)/update_bench: test/update_bench.c $(BUILD)/libfastgen_cuda.so Makefile
	$(CC) $(CFLAGS) -MF $(OBJ)/$(@F).d -o $@ $< -L$(BUILD) -l:libfastgen_cuda.so -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) $(LDLIBS)

# Two processes and the library: device memory of one is loaded by the other.
$(BUILD)/ipc_test: test/ipc_test.c $(BUILD)/libfastgen_cuda.so Makefile
	$(CC) $(CFLAGS) -isystem $(CUDA_ROOT)/include -MF $(OBJ)/$(@F).d -o $@ $< -L$(BUILD) -l:libfastgen_cuda.so -Wl,-rpath,'$$ORIGIN' \
		-L$(CUDA_ROOT)/lib64 -L$(CUDA_ROOT)/lib -lcudart_static -ldl -lrt $(LDFLAGS) $(LDLIBS)

$(BUILD)/peers_test: test/peers_test.cu test/check_cuda.cuh $(OBJ)/cuda/ranks/peers.o cuda/rules.mk
	$(link-cuda-test)

# Linked with the CPU's sampler, which it is compared with.
$(BUILD)/sample_test_cuda: test/sample_test.cu $(patsubst %,$(OBJ)/%.o,cuda/sampling/sample cuda/sampling/slots cpu/sample cpu/logprobs sampling error) cuda/rules.mk
	$(link-cuda-test)

# Times every op against what the device can do.
$(BUILD)/ops_bench: test/ops_bench.cu $(CUDA_OBJECTS) cuda/rules.mk
	$(link-cuda-test)

# Every op beside its twin in the CPU library. Both libraries name their table fg_device_ops, so the CPU's gets another
# name here. Its device.o is left out, because each library has one.
$(OBJ)/cpu/ops_twin.o: $(OBJ)/cpu/ops.o cuda/rules.mk
	objcopy --redefine-sym fg_device_ops=fg_cpu_ops $< $@

$(BUILD)/ops_test: test/ops_test.cu test/ops_test.cuh test/compare.cuh $(CUDA_OBJECTS) $(OBJ)/cpu/ops_twin.o \
		$(filter-out %/cpu/ops.o %/cpu/device.o,$(CPU_OBJECTS)) cuda/rules.mk
	$(link-cuda-test)

# The library on cards that exist on paper: needs no GPU. Where the library is built for every architecture, all cards of the
# test's table must have code.
CARD_OBJECTS := $(filter-out %/cuda/libraries.o,$(CUDA_OBJECTS))
cards: $(OBJ)/cards_test $(OBJ)/copies_test
	$(OBJ)/copies_test
	$< $(if $(filter file,$(origin CUDA_ARCHS)),all) $(patsubst %.o,%.ptxas,$(filter-out %/cupti.o,$(CARD_OBJECTS)))

CARD := $(patsubst %,$(OBJ)/%.o,card card_memory card_runtime card_streams card_trace)
$(CARD): $(OBJ)/%.o: test/%.cpp Makefile
	$(CXX) $(CXXFLAGS) -O1 -c -o $@ $<

$(OBJ)/cards_test.o: test/cards_test.c Makefile
	$(CC) $(CFLAGS) -c -o $@ $<

$(OBJ)/copies_test.o: test/copies_test.cu Makefile cuda/rules.mk
	$(NVCC) $(NVCCFLAGS) $(call gencode,$(firstword $(CUDA_ARCHS))) -c -o $@ $<

$(OBJ)/cards_test $(OBJ)/copies_test: $(OBJ)/%: $(OBJ)/%.o $(CARD) $(CARD_OBJECTS)
	$(CXX) -o $@ $^ -pthread -ldl -lrt

# What several threads use of it, on such cards under the thread sanitizer. Kernels' own files are linked as they are.
RACING := copies device_memory imports marks ops pinned sleep step weights ranks/nccl ranks/ranks
RACING_OBJECTS := $(RACING:%=$(OBJ)/racing/cuda/%.o) $(OBJ)/racing/cuda/cupti.o $(SHARED:%=$(OBJ)/racing/%.o)
card-races: $(OBJ)/card_races_test
	$< $(patsubst %.o,%.ptxas,$(filter-out %/cupti.o,$(CARD_OBJECTS)))

$(RACING:%=$(OBJ)/racing/cuda/%.o): $(OBJ)/racing/cuda/%.o: cuda/%.cu Makefile cuda/rules.mk
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -Xcompiler -fsanitize=thread $(call gencode,$(firstword $(CUDA_TEST_ARCHS))) -c -o $@ $<

$(OBJ)/racing/cuda/cupti.o: cuda/cupti.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -O1 -fsanitize=thread -c -o $@ $<

$(CARD:$(OBJ)/%=$(OBJ)/racing/%): $(OBJ)/racing/%.o: test/%.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -O1 -fsanitize=thread -c -o $@ $<

vpath card_races_test.c test
$(SHARED:%=$(OBJ)/racing/%.o) $(OBJ)/racing/card_races_test.o: $(OBJ)/racing/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -fsanitize=thread -c -o $@ $<

$(OBJ)/card_races_test: $(OBJ)/racing/card_races_test.o $(CARD:$(OBJ)/%=$(OBJ)/racing/%) $(RACING_OBJECTS) \
		$(filter-out $(RACING_OBJECTS:$(OBJ)/racing/%=$(OBJ)/%),$(CARD_OBJECTS))
	$(CXX) -fsanitize=thread -o $@ $^ -pthread -ldl -lrt
