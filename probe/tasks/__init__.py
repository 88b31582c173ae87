"""Tasks: one a file, each with ground truth at every position."""

from .arithmetic import ModularArithmetic
from .base import Batch, Split, Task, generator_for
from .matching import Match
from .matrices import MatrixAlgebra
from .othello import Othello
from .pair_products import PairProducts
from .parity import Parity
from .recall import AssociativeRecall, InductionHeads, Repeat, SelectiveCopying
from .regression import InContextRegression
from .reviews import Reviews
from .sentiment import Sentiment
from .source_code import SourceCode
from .sparse_averaging import SparseAveraging
from .table import Table
from .text import Text
from .word_problem import WordProblem

__all__ = [
    "AssociativeRecall",
    "Batch",
    "InContextRegression",
    "InductionHeads",
    "Match",
    "MatrixAlgebra",
    "ModularArithmetic",
    "Othello",
    "PairProducts",
    "Parity",
    "Repeat",
    "Reviews",
    "SelectiveCopying",
    "Sentiment",
    "SourceCode",
    "SparseAveraging",
    "Split",
    "Table",
    "Task",
    "Text",
    "WordProblem",
    "generator_for",
]
