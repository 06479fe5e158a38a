/*
 * imports.cuh - device memory of other processes (CUDA IPC) that a tensor table names, opened while it is loaded.
 */
#ifndef FG_IMPORTS_CUH
#define FG_IMPORTS_CUH

#include "ops.cuh"

#include <vector>

namespace fg {

/* Of one device, which is the current one in all calls. */
class Imports {
  public:
	/* Opens all memory that the table names. FG_INVALID, saying why, if some cannot be opened, or a tensor does not lie
	 * in it. */
	fg_status open(const fg_tensor_table *table);
	/* Once nothing reads it any more. */
	void close();
	/* Where a tensor of that table lies on the device; NULL for one that is in a file or in the host's memory. */
	const char *find(const fg_tensor *tensor, const fg_file *file) const {
		return file && !file->path ? (const char *)opened[(size_t)(file - files)] + tensor->offset : nullptr;
	}

  private:
	const fg_file *files = nullptr; /* the table's */
	std::vector<void *> opened;     /* [n_files]; NULL for those that are files */
};

} // namespace fg

#endif
