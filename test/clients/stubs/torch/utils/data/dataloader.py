from typing import Generic, TypeVar

Item = TypeVar("Item")


class DataLoader(Generic[Item]):
    """Items of a dataset one by one, in order, each through `collate_fn` as a batch of one; in this process."""

    def __init__(self, dataset, batch_size, collate_fn, **_):
        if batch_size != 1:
            raise NotImplementedError("this stands in for PyTorch with batches of one alone")
        self.dataset = dataset
        self.collate_fn = collate_fn

    def __iter__(self):
        for item in self.dataset:
            yield self.collate_fn([item])
