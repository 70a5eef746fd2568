from autoup.solution import Solution
from autoup.solver import candidates, solve
from autoup.errors import *
