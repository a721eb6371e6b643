"""Wire types: what requests may say and what answers look like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, StringConstraints

from models.head_runtime import ClassWeight, HeadChoice, HeadKind, TaskKind

TASK_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
TaskName = Annotated[str, StringConstraints(pattern=TASK_NAME)]
CodeKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Inputs = StrictStr | list[StrictStr]
VersionNumber = Annotated[int, Field(ge=1, le=999_999)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


CohereEmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]


class Request(BaseModel):
    """A request body: unknown fields are refused, so that a misspelt one is not ignored."""

    model_config = ConfigDict(extra="forbid")


class PredictRequest(Request):
    inputs: Inputs | None = Field(None, description="One text or a list of texts.")
    keys: list[CodeKey] | None = Field(
        None, description="Keys of stored codes, in place of inputs. No encoder pass is made."
    )
    tasks: list[StrictStr] | None = Field(None, description="Task names; null asks all tasks.")
    scores: StrictBool = Field(False, description="Also give every label's probability.")
    truncate: StrictBool = Field(True, description="false refuses texts over the token limit.")


class EncodeRequest(Request):
    inputs: Inputs
    truncate: StrictBool = True


class EmbeddingsRequest(BaseModel):
    """OpenAI's request; fields of theirs that mean nothing here are accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    input: Inputs
    model: StrictStr | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    precision: Literal["code", "full"] = "code"


class CohereContent(BaseModel):
    """A part of an input; parts of other types than text have no `text`."""

    model_config = ConfigDict(extra="ignore")

    text: StrictStr | None = None


class CohereInput(BaseModel):
    model_config = ConfigDict(extra="ignore")

    content: list[CohereContent]


class CohereEmbedRequest(BaseModel):
    """Cohere's request; fields of theirs that mean nothing here are accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    texts: list[StrictStr] | None = None
    inputs: list[CohereInput] | None = None
    images: list[StrictStr] | None = None
    model: StrictStr | None = None
    input_type: StrictStr | None = Field(
        None, description="Of no consequence: one text has one code."
    )
    embedding_types: list[CohereEmbeddingType] | None = Field(None, max_length=6)
    truncate: Literal["NONE", "START", "END"] = Field(
        "END", description="NONE and START refuse a text that would have to be cut."
    )
    max_tokens: int | None = Field(None, ge=1)
    output_dimension: int | None = Field(None, ge=1)


class TaskRequest(Request):
    kind: TaskKind = "single_label"
    labels: list[Annotated[str, StringConstraints(min_length=1, max_length=256)]] | None = Field(
        None, max_length=10_000, description="null: taken from the first training's examples."
    )
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None


class Example(Request):
    text: StrictStr
    label: StrictStr | None = None
    labels: list[StrictStr] | None = None
    value: float | None = Field(None, allow_inf_nan=False)


class TrainOptions(Request):
    head: HeadChoice = Field(
        "auto",
        description="prototype is for few examples a label; auto takes it under 16 of them, "
        "else linear.",
    )
    activate: bool | None = Field(
        None, description="null: activate if the task has no active version yet."
    )
    test_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Held out when no test is given. null: a fifth, or nothing where that would "
        "be under 20 rows; the report is cross-validated then.",
    )
    seed: int = Field(0, ge=0, lt=2**32)
    class_weight: ClassWeight = None
    label_names: bool = Field(
        True,
        description="With under 64 examples a label, single label: what the labels are called is "
        "encoded and counts as four examples of each. For names that say nothing, turn it off.",
    )
    base: VersionNumber | None = Field(
        None,
        description="A version whose stored codes and labels are trained on as well. What it held "
        "out stays held out; an example with the code of one of its rows replaces it.",
    )


class TrainRequest(TrainOptions):
    examples: list[Example] | None = Field(
        None, min_length=1, description="May be left out where there is a base."
    )
    test_examples: list[Example] | None = Field(None, min_length=1)


class EvaluateRequest(Request):
    examples: list[Example] = Field(min_length=1)


class SettingsRequest(Request):
    """Fields that are left out stay as they are; null goes back to the default."""

    min_confidence: Probability | None = Field(
        None,
        description="Single label: where the answer's probability is under it, the label is null "
        "and abstained is true. null: always answer.",
    )
    thresholds: dict[str, Probability] | None = Field(
        None,
        description="Multi label: what the probability of a label must be above. Labels that are "
        "left out, and all with null, keep what was chosen in training.",
    )


class CompareRequest(Request):
    a: VersionNumber
    b: VersionNumber


class ShadowRequest(Request):
    version: VersionNumber


class BackfillRequest(Request):
    version: VersionNumber | None = Field(
        None, description="Of the task, active or not; null: the active one."
    )
    tasks: list[StrictStr] | None = Field(
        None, description="Other tasks that are answered in the same go, by their active versions."
    )
    format: Literal["ndjson", "parquet"] | None = Field(
        None, description="null: as the Accept header says, else ndjson."
    )
    scores: StrictBool = Field(False, description="Also give every label's probability.")


class SimilarRequest(Request):
    inputs: Inputs | None = Field(None, description="One text or a list of texts.")
    keys: list[CodeKey] | None = Field(
        None, description="Keys of stored codes, in place of inputs."
    )
    limit: int = Field(10, ge=1, le=100, description="Neighbours of each input, at most.")
    max_distance: int | None = Field(
        None, ge=0, description="Bits in which a neighbour may differ. null: any number."
    )
    tasks: list[StrictStr] | None = Field(
        None, description="Also what the active heads of these tasks say of each neighbour."
    )
    max_age_s: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Wait until the codes were read no longer ago than this. null: as they are.",
    )
    task: TaskName | None = Field(
        None, description="Search the labelled rows of this task's version in place of the cache."
    )
    version: VersionNumber | None = Field(None, description="With task; null: the active one.")


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    inputs: int
    cached: int
    encoded: int


class PredictResponse(BaseModel):
    object: Literal["list"]
    encoder: str
    data: list[dict[str, Any]]
    usage: Usage
    skipped: list[dict[str, str]] = Field(
        default=[], description="With tasks null: tasks that could not answer, and why."
    )


class SearchedCodes(BaseModel):
    codes: int = Field(description="That were searched.")
    complete: bool = Field(description="false: there are more than POLYHEAD_SIMILAR_MAX_CODES.")
    age_s: float | None = Field(
        description="Since they were read from the cache; null: rows of a version."
    )


class SimilarResponse(BaseModel):
    object: Literal["list"]
    encoder: str
    bits: int
    data: list[dict[str, Any]]
    searched: SearchedCodes
    usage: Usage


class Suspect(BaseModel):
    """A row whose label may be wrong. `row` counts in `part` of `version`'s request."""

    version: int
    part: Literal["examples", "test_examples"]
    row: int
    label: str
    suggested: str = Field(description="The likeliest other label.")
    suspicion: float = Field(ge=0, le=1, description="How much speaks against the label.")
    probability: float = Field(
        description="Of its label, by heads that were not fitted on the row."
    )
    agreeing: int = Field(description="Of the neighbours, those with its label.")
    neighbours: list[SuspectNeighbour] = Field(description="Nearest first.")


class SuspectNeighbour(BaseModel):
    version: int
    part: Literal["examples", "test_examples"]
    row: int
    label: str
    distance: int


class Suspects(BaseModel):
    object: Literal["list"] = "list"
    task: str
    version: int
    rows: int = Field(description="Looked at: those that the version was made from.")
    data: list[Suspect] = Field(description="Most suspicious first.")


class EncodeResponse(BaseModel):
    data: list[dict[str, Any]]
    bits: int
    encoder: str
    usage: Usage


class EmbeddingsResponse(BaseModel):
    object: Literal["list"]
    data: list[dict[str, Any]]
    model: str
    usage: dict[str, int]


class CohereEmbedResponse(BaseModel):
    id: str
    response_type: Literal["embeddings_by_type"]
    embeddings: dict[CohereEmbeddingType, list[Any]]
    texts: list[str]
    meta: dict[str, Any]


class VersionSettings(BaseModel):
    """How a version answers, and what that is worth on its held-out rows.

    `coverage` is the share of them that is answered, `accuracy` that of the answered ones; both
    null where the version has no held-out rows stored.
    """

    min_confidence: float | None = None
    thresholds: dict[str, float] | None = None
    coverage: float | None = None
    accuracy: float | None = None


class VersionSummary(BaseModel):
    version: int
    head: HeadKind
    encoder: str
    created_at: float
    active: bool
    accuracy: float | None
    macro_f1: float | None


class Task(BaseModel):
    object: Literal["task"] = "task"
    name: str
    kind: TaskKind
    labels: list[str]
    description: str | None
    ready_made: bool
    active_version: int | None
    shadow_version: int | None
    created_at: float
    versions: list[VersionSummary]
    card: dict[str, Any] | None = None


class TaskList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Task]


class TaskDeleted(BaseModel):
    object: Literal["task.deleted"] = "task.deleted"
    name: str
    deleted: Literal[True] = True


class VersionDeleted(BaseModel):
    object: Literal["task.version.deleted"] = "task.version.deleted"
    task: str
    version: int
    deleted: Literal[True] = True


class Version(BaseModel):
    object: Literal["task.version"] = "task.version"
    task: str
    version: int
    kind: TaskKind
    head: HeadKind
    encoder: str
    encoders: dict[str, dict[str, Any]]
    labels: list[str]
    created_at: float
    active: bool
    settings: VersionSettings
    report: dict[str, Any] | None


class ComparedVersion(BaseModel):
    version: int
    accuracy: float | None = Field(description="Of a regression null.")
    mae: float | None = Field(description="Of a regression alone.")


class Interval(BaseModel):
    mean: float
    low: float
    high: float


class McNemar(BaseModel):
    only_a: int = Field(description="Rows that only a answers right.")
    only_b: int
    p_value: float


class ChangedRow(BaseModel):
    """A row that two versions answer differently. `row` counts in `part` of `version`'s request."""

    version: int
    part: Literal["examples", "test_examples"]
    row: int
    truth: str | list[str]
    a: str | list[str]
    b: str | list[str]


class Comparison(BaseModel):
    object: Literal["task.comparison"] = "task.comparison"
    task: str
    a: ComparedVersion
    b: ComparedVersion
    rows: int = Field(description="Held out by one of the two and trained on by neither.")
    excluded: int = Field(description="Held-out rows of one that the other was trained on.")
    difference: Interval = Field(
        description="b less a in accuracy (a regression: in absolute error), with its 95% "
        "bootstrap interval over rows."
    )
    mcnemar: McNemar | None = Field(description="Exact, two-sided. Of a regression null.")
    changed: list[ChangedRow] = Field(description="At most 1,000.")
    changed_count: int


class LearningPoint(BaseModel):
    rows: int = Field(description="Trained on.")
    accuracy: float | None = Field(description="On the held-out rows. Of a regression null.")
    interval: list[float] | None = Field(description="Its 95% interval (Wilson's).")
    mae: float | None = Field(description="Of a regression alone.")


class LearningCurve(BaseModel):
    object: Literal["task.learning_curve"] = "task.learning_curve"
    task: str
    version: int
    n_test: int
    data: list[LearningPoint] = Field(
        description="Heads on parts of the training rows; last the version itself."
    )


class OutdatedHead(BaseModel):
    task: str
    version: int = Field(description="The active one.")
    kind: TaskKind
    encoder: str = Field(description="Whose codes it reads.")
    ready_made: bool
    options: dict[str, Any] = Field(description="What it was trained with, as far as is known.")


class Retraining(BaseModel):
    object: Literal["list"] = "list"
    encoder: str = Field(description="The running one.")
    data: list[OutdatedHead]


class ShadowPair(BaseModel):
    active: str | list[str] | None = Field(description="null where it was not sure.")
    shadow: str | list[str] | None
    count: int


class ShadowExample(BaseModel):
    """A text that the two answer differently, by its key: its text is not stored."""

    key: str
    active: str | list[str] | None
    shadow: str | list[str] | None


class Shadow(BaseModel):
    object: Literal["task.shadow"] = "task.shadow"
    task: str
    version: int = Field(description="Answers beside the active one; nobody is shown its answers.")
    active_version: int | None
    since: float | None = Field(description="When the first text was compared; null: none was.")
    texts: int = Field(
        description="Compared by this process since it started or either version changed; "
        "/metrics of all processes have them all."
    )
    dropped: int = Field(description="Not compared: more came than could be.")
    disagreements: int | None = Field(description="Of a regression null.")
    rate: float | None
    interval: list[float] | None = Field(description="Of the rate, 95% (Wilson's).")
    mean_difference: float | None = Field(description="Of a regression alone: shadow less active.")
    mean_absolute_difference: float | None
    pairs: list[ShadowPair] = Field(description="Of answers that differ; the 50 most frequent.")
    examples: list[ShadowExample] = Field(description="The last 20 that differ.")


class ShadowEnded(BaseModel):
    object: Literal["task.shadow.ended"] = "task.shadow.ended"
    task: str
    ended: Literal[True] = True


class LabelShare(BaseModel):
    label: str
    trained: float = Field(description="Its share of the head's answers to the training rows.")
    live: float


class AnswerDrift(BaseModel):
    share: float = Field(
        description="Of the answers that would have to be others for the labels to be given as "
        "often as to the training rows."
    )
    by_chance: float = Field(description="What that share is expected to be without any drift.")
    labels: list[LabelShare] = Field(description="The 10 whose share differs most.")


class TaskDrift(BaseModel):
    object: Literal["task.drift"] = "task.drift"
    task: str
    version: int | None = Field(description="The active one, whose training rows are compared.")
    drift: float | None = Field(
        description="1: as far from the training rows as 99 of 100 fresh samples of them stay. "
        "null: not known, `reason` says why."
    )
    distance: float | None = Field(
        description="How far, in standard deviations of the training rows' bits and less the "
        "noise. Unlike drift it does not grow with the number of texts."
    )
    shifted: bool | None = Field(description="Whether drift is over 1.")
    texts: int = Field(
        description="Different texts compared: of the newest 1024 that this process was asked, or "
        "some of them where more than 8 a second come."
    )
    training_rows: int | None
    since: float | None = Field(description="When this process began to keep codes of the task.")
    reason: str | None
    answers: AnswerDrift | None = Field(description="Of single label tasks.")


class DriftList(BaseModel):
    object: Literal["list"] = "list"
    data: list[TaskDrift]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    error: ErrorBody


JobKind = Literal["training", "evaluation"]


class Job(BaseModel):
    object: Literal["job"] = "job"
    id: str
    kind: JobKind = "training"  # as stored jobs without a kind are
    task: str
    status: Literal["queued", "running", "succeeded", "failed"]
    stage: Literal["queued", "encoding", "fitting", "evaluating", "saving", "done"]
    progress: float = Field(ge=0, le=1)
    version: int | None = None
    report: dict[str, Any] | None = None
    error: ErrorBody | None = None
    created_at: float
    finished_at: float | None = None


class JobList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Job]


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "polyhead"
    fingerprint: str
    bits: int
    max_tokens: int
    profile: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
