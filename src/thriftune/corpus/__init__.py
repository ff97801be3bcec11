"""From tables of posts and annotations to a corpus: read, checked, aligned, split and tokenised.

`ingest` reports everything that is wrong with the tables at once, or writes a corpus with a fingerprint: the
same tables and settings always make the same corpus, which is then reused. A killed process is continued. The
test posts are in a file of their own, which nothing opens before the evaluation.

    store = CorpusStore(Path("data/corpora"))
    corpus = ingest(CorpusConfig(source="sample"), store, print)
    for post in corpus.posts("train"):
        print(post.post_id, post.criteria)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
