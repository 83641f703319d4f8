"""Help pages: options in named groups, an example on each page, at any width.

Plain text: a table of boxes cuts long names short in a narrow terminal, and takes what
stands in brackets for markup.
"""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

FEW = 6  # options that need no groups
LONGEST = 30  # signs of a name that stands beside its help
WIDEST = 100
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": WIDEST}
ABOUT = "About the screen"
FLOW = """\
score      maps and references        -> scores.parquet
calibrate  scores.parquet             -> calibration.json
predict    calibration.json, new maps -> masks
evaluate   the same and references    -> what happened
"""
# Groups in the order of a page -> options, by the names of their parameters.
PANELS: dict[str, tuple[str, ...]] = {
    "Files": (
        *("output", "bids", "probs", "labels", "cohort", "images", "derivatives"),
        *("only", "labels_only", "table", "against", "absent", "leave_out", "state"),
        *("units", "groups", "unit_pattern", "split", "part", "start"),
    ),
    "The promise": (
        *(
            "calibration",
            "learning",
            "alpha",
            "delta",
            "method",
            "tolerance",
            "score",
            "level",
            "empty",
            "fraction",
        ),
        *("splits", "hold_out_by", "order_by", "once", "calibration_units", "n"),
        *("sites", "fewest"),
    ),
    "What a map means": ("region", "softmax", "ignore_label", "logits"),
    "What is fitted": ("form", "by_class"),
    "What is kept of a case": (
        *("transform", "set_sizes", "bins", "grid", "band_edges", "lesions"),
        *("curves", "voxels", "soft_bins", "mask_lesions", "which"),
    ),
    "Windows of the net": ("overlap", "flip", "batch", "score_only"),
    "What is written": (
        *("sides", "container", "merge", "overlay", "per_class", "bits", "storage"),
        *("figures", "draws", "plot", "dry_run", "nsd_tolerance"),
    ),
    "Units, raters and draws": (
        "by",
        "balance",
        "unit",
        "per_unit",
        "raters",
        "seed",
        "axes",
    ),
    "Groups and shift": (
        *("group_by", "group_floor", "weights", "largest_weight", "break_ties"),
        "edges_from",
    ),
    "Expected losses (crc, rcps, ltt)": (
        *("loss", "loss_file", "safe", "bound", "also", "correction"),
    ),
    "Confidence sets": (
        *("inner", "outer", "joint", "alpha_inner", "transforms", "regions"),
    ),
    "Volumes": ("estimate", "scale", "one_sided", "change"),
    "Triage": ("bad_below", "confidence", "confident_at", "cut"),
    "Folds": ("folds", "vote"),
    "Where it runs": (
        *("engine", "threads", "workers", "dask", "memory", "shard", "parts"),
    ),
    "A run again": ("resume", "verify_inputs", "overwrite"),
    "What is accepted": (
        *("allow_missing", "allow_hard_masks", "allow_duplicates", "allow_overshoot"),
        *("allow_vacuous", "allow_scarce"),
    ),
    ABOUT: ("as_json", "debug", "version", "help"),
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "The flow": ("score", "calibrate", "predict", "evaluate", "demo"),
    "Before": (
        "plan",
        "import",
        "split",
        "learn-sets",
        "temperature",
        "pack",
        "export",
    ),
    "After": (
        *("validate", "monitor", "reliability", "picture", "report", "verify"),
        "doctor",
    ),
    "Nets": ("train", "infer"),
    "In parts, at sites": ("merge", "summarise"),
}
# Command -> what one may type; lines of at most 56 signs.
EXAMPLES: dict[str, str] = {
    "split": "coverax split cohort.csv --calibration 0.5 -o parts",
    "score": """\
coverax score --probs probs --labels labels \\
    -o scores.parquet
coverax score --cohort cohort.csv -o scores.parquet""",
    "merge": "coverax merge parts -o scores.parquet",
    "summarise": "coverax summarise scores.parquet -o site.json",
    "picture": "coverax picture masks --images scans -o pictures",
    "report": "coverax report evaluation -o report.html",
    "doctor": "coverax doctor",
    "learn-sets": "coverax learn-sets learning.parquet -o transforms.json",
    "calibrate": """\
coverax calibrate scores.parquet --alpha 0.1 \\
    -o calibration.json
coverax calibrate scores.parquet --alpha 0.1 \\
    --method sets -o sets.json""",
    "predict": "coverax predict calibration.json --probs new -o masks",
    "evaluate": """\
coverax evaluate calibration.json --probs new \\
    --labels references -o evaluation""",
    "validate": "coverax validate scores.parquet --alpha 0.1",
    "monitor": """\
coverax monitor calibration.json --probs new \\
    --state monitor.json""",
    "reliability": "coverax reliability scores.parquet -o reliability",
    "plan": "coverax plan --alpha 0.1 --delta 0.05",
    "train": "coverax train run.toml -o run",
    "infer": "coverax infer run --images images -o probs",
    "pack": "coverax pack probs -o packed",
    "export": "coverax export nnunet_results -o probs",
    "verify": "coverax verify calibration.json masks",
    "demo": "coverax demo -o demo",
    "fit": """\
coverax temperature fit --probs probs --labels labels \\
    -o temperature.json""",
    "apply": """\
coverax temperature apply temperature.json \\
    --probs new -o scaled""",
    "nnunet": """\
coverax import nnunet nnUNet_results/Dataset001/MODEL \\
    --labels labelsTr -o cohort.csv""",
    "bids": """\
coverax import bids derivatives/net --labels bids \\
    -o cohort.csv""",
    "images": """\
coverax import images probs --labels labels \\
    -o cohort.csv""",
}


def panel_of(name: str) -> str:
    """The group of an option; that of what is shown where it has none."""
    return next((panel for panel, names in PANELS.items() if name in names), ABOUT)


class Command(TyperCommand):
    """A command whose page has its options in groups, and an example."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options in their groups, and the example."""
        params = list(self.get_params(ctx))
        arguments = [p for p in params if p.param_type_name == "argument"]
        options = [p for p in params if p.param_type_name == "option"]
        _write_section(ctx, formatter, "Arguments", arguments)
        if len(options) <= FEW:
            _write_section(ctx, formatter, "Options", options)
        else:
            for panel in PANELS:
                own = [p for p in options if panel_of(p.name) == panel]
                _write_section(ctx, formatter, panel, own)
        with formatter.section("Example"):
            _write_lines(formatter, EXAMPLES.get(self.name or "", ""))


class Group(TyperGroup):
    """Commands in groups, shown where none is named; `coverax` starts with the flow."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take no argument at all for a question."""
        asked = args or ([] if ctx.resilient_parsing else ["--help"])
        return super().parse_args(ctx, asked)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the flow, the commands in their groups, and the options."""
        if ctx.parent is None:
            with formatter.section("In four steps"):
                _write_lines(formatter, FLOW)
        self.format_commands(ctx, formatter)
        _write_section(ctx, formatter, "Options", self.get_params(ctx))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command does, in a line or two."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        about = {n: (c.help or "").partition("\n\n")[0] for n, c in found.items() if c}
        panels = COMMANDS if ctx.parent is None else {"Commands": tuple(about)}
        for panel, names in panels.items():
            with formatter.section(panel):
                rows = [(n, " ".join(about[n].split())) for n in names if n in about]
                formatter.write_dl(rows)


def _write_section(ctx: Any, formatter: Any, title: str, params: Iterable[Any]) -> None:
    records = [p.get_help_record(ctx) for p in params]
    rows = [_words_below(*record) for record in records if record is not None]
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def _words_below(name: str, text: str) -> tuple[str, str]:
    """A name and its help; words that one may choose go to the help where they are many."""
    option, _, words = name.rpartition(" ")
    words = words.strip("<>")
    if len(name) <= LONGEST or words.count("|") < 2 or "=" in words:
        return name, text
    return f"{option} WORD", f"{words.replace('|', ', ')}. {text}"


def _write_lines(formatter: Any, text: str) -> None:
    """Lines as they are, indented: what is typed is not wrapped."""
    for line in text.splitlines():
        formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
