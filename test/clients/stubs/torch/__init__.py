"""In PyTorch's place, gigabytes in size: the data loader of one process is all that guidellm uses of it."""

import torch.utils.data  # noqa: F401


class Generator:
    """The random numbers by which a loader would shuffle. This one does not shuffle."""

    def manual_seed(self, seed):
        """Nothing is drawn."""
