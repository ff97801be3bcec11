"""A post as one JSON line, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from thriftune.corpus.types import Evidence, Post


def post_to_line(post: Post) -> str:
    """Return a post as one JSON object without line breaks.

    Args:
        post: The post.
    """
    value = {
        "post_id": post.post_id,
        "text": post.text,
        "criteria": post.criteria,
        "evidence": [asdict(item) for item in post.evidence],
        "sentences": post.sentences,
    }
    return json.dumps(value, ensure_ascii=False)


def post_from_line(line: str) -> Post:
    """Return the post of a line.

    Args:
        line: As post_to_line returned it.
    """
    value: dict[str, Any] = json.loads(line)
    return Post(
        post_id=value["post_id"],
        text=value["text"],
        criteria=tuple(value["criteria"]),
        evidence=tuple(Evidence(**item) for item in value["evidence"]),
        sentences=tuple((start, end) for start, end in value["sentences"]),
    )
