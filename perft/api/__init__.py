"""perft from Python: `perft.search`, `perft.results` and what they take and return."""

import logging
import warnings

# Ray and tqdm ask for ipywidgets in every notebook, which perft's progress does without.
logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message="IProgress not found")
