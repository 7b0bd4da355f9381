"""The library as functions: plan, train, resume, load, compare, evaluate, embed, neighbours,
duplicates, clusters, outliers, export, report.

The command line is a thin layer over these.
"""

from sparring.api.common import Run as Run
from sparring.api.common import load as load
from sparring.api.comparing import compare as compare
from sparring.api.comparing import read_study as read_study
from sparring.api.comparison import Comparison as Comparison
from sparring.api.exporting import export as export
from sparring.api.indexing import clusters as clusters
from sparring.api.indexing import duplicates as duplicates
from sparring.api.indexing import neighbours as neighbours
from sparring.api.indexing import outliers as outliers
from sparring.api.inspecting import doctor as doctor
from sparring.api.inspecting import inspect_data as inspect_data
from sparring.api.scoring import Embedded as Embedded
from sparring.api.scoring import embed as embed
from sparring.api.scoring import evaluate as evaluate
from sparring.api.scoring import score_after_training as score_after_training
from sparring.api.showing import list_methods as list_methods
from sparring.api.showing import list_protocols as list_protocols
from sparring.api.showing import report as report
from sparring.api.training import resume as resume
from sparring.api.training import train as train
from sparring.data.inspection.findings import DataFinding as DataFinding
from sparring.indexing.clusters import Clusters as Clusters
from sparring.indexing.duplicates import Duplicates as Duplicates
from sparring.indexing.neighbours import Neighbours as Neighbours
from sparring.indexing.outliers import Outliers as Outliers
from sparring.planning.plan import plan as plan
from sparring.planning.resource_plan import ResourcePlan as ResourcePlan
from sparring.training.configure import find_recipe as find_recipe
from sparring.training.configure import recipes as recipes
