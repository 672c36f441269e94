"""What the learned class names are near to: vocabulary tokens, each other, and chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ltad.io.tensors import torch_generator
from ltad.models.align import Encoder, Vocabulary
from ltad.models.class_names import INITIAL_WORD, spoken
from ltad.models.detector import Detector
from ltad.types import NearestToken, SettingError

RANDOM_VECTORS = 200


@dataclass(frozen=True)
class VocabularyMap:
    """Vocabulary and learned vectors on the vocabulary's first two principal components.

    Attributes:
        tokens, token_xy: the words and their places, (n, 2) float32.
        names, name_xy: "class number" of each learned vector and its place.
        initial_xy: (1, 2), where every learned vector began ("object").
        explained: share of the vocabulary's variance that the plane shows, in [0, 1].
    """

    tokens: tuple[str, ...]
    token_xy: np.ndarray
    names: tuple[str, ...]
    name_xy: np.ndarray
    initial_xy: np.ndarray
    explained: float


class TokenExplorer:
    """Nearest tokens and maps for one detector; holds no state but what it computed once."""

    def __init__(self, encoder: Encoder, detector: Detector) -> None:
        self._encoder = encoder
        self._detector = detector

    @cached_property
    def _words(self) -> Vocabulary:
        return self._encoder.vocabulary().whole_words()

    def vectors(self, class_name: str) -> Tensor:
        """s_c, (m, token_width), on the CPU."""
        return self._detector.names.name(self._detector.index(class_name)).detach().cpu()

    def nearest(self, vector: Tensor, k: int) -> list[NearestToken]:
        """The k vocabulary words with the highest cosine similarity to `vector` (token_width,).

        Raises:
            SettingError: k is below 1.
        """
        if k < 1:
            raise SettingError(f"k is {k}, but it must be at least 1.")
        words = self._words
        cosines = functional.cosine_similarity(vector[None], words.embeddings, dim=1)
        distances = (words.embeddings - vector).norm(dim=1)
        return [
            NearestToken(words.tokens[i], float(cosines[i]), float(distances[i]))
            for i in cosines.topk(min(k, len(words.tokens))).indices.tolist()
        ]

    def nearest_of_class(self, class_name: str, k: int) -> list[list[NearestToken]]:
        """For each of the class's m learned vectors, its k nearest words."""
        return [self.nearest(vector, k) for vector in self.vectors(class_name)]

    def nearest_of_words(self, words: str, k: int) -> dict[str, list[NearestToken]]:
        """For each token of the words, its k nearest words other than itself."""
        tokens = self._encoder.tokenize(words)
        vectors = self._encoder.token_vectors(words).cpu()
        return {
            token: [n for n in self.nearest(vector, k + 1) if n.token != token][:k]
            for token, vector in zip(tokens, vectors, strict=True)
        }

    def drift(self, class_name: str) -> list[tuple[float, float]]:
        """(cosine, distance) of each learned vector to the embedding of "object"."""
        start = self._encoder.token_vectors(INITIAL_WORD)[0].cpu()
        return [
            (float(functional.cosine_similarity(v, start, dim=0)), float((v - start).norm()))
            for v in self.vectors(class_name)
        ]

    def own_name_ranks(self) -> dict[str, int]:
        """Class name -> the rank of its own learned vectors among those of all classes, by how near
        they are to the name's words (cosine of the means). 1 is the nearest; vectors that mean
        nothing reach (classes + 1) / 2 on average."""
        names = self._detector.class_names
        learned = torch.stack([self.vectors(name).mean(0) for name in names])
        words = torch.stack([
            self._encoder.token_vectors(spoken(name)).mean(0).cpu() for name in names])
        cosines = functional.normalize(words, dim=1) @ functional.normalize(learned, dim=1).T
        ranks = 1 + (cosines > cosines.diagonal()[:, None]).sum(1)
        return dict(zip(names, ranks.tolist(), strict=True))

    def random_baseline(self, k: int) -> list[float]:
        """Mean cosine of the 1st to k-th nearest word of random vectors (seed 0).

        The vectors are normal with the vocabulary's mean and deviation in every dimension, so they
        lie where tokens lie; cosine does not depend on their length.
        """
        table = self._words.embeddings
        noise = torch.randn(RANDOM_VECTORS, table.shape[1], generator=torch_generator(0, 20))
        vectors = functional.normalize(table.mean(0) + table.std(0) * noise, dim=1)
        cosines = vectors @ functional.normalize(table, dim=1).T
        return cosines.topk(min(k, len(table)), dim=1).values.mean(dim=0).tolist()

    @cached_property
    def vocabulary_map(self) -> VocabularyMap:
        """The 2-D map of the vocabulary and of every learned vector."""
        from sklearn.decomposition import PCA  # no visitor of another tab waits for it

        words = self._words
        plane = PCA(n_components=2, random_state=0).fit(words.embeddings.numpy())
        names, vectors = [], []
        for class_name in self._detector.class_names:
            for number, vector in enumerate(self.vectors(class_name), start=1):
                names.append(f"{class_name} {number}")
                vectors.append(vector)
        start = self._encoder.token_vectors(INITIAL_WORD)[:1].cpu().numpy()

        def place(array: np.ndarray) -> np.ndarray:
            return plane.transform(array).astype(np.float32)

        return VocabularyMap(
            words.tokens, place(words.embeddings.numpy()), tuple(names),
            place(torch.stack(vectors).numpy()), place(start),
            float(plane.explained_variance_ratio_.sum()),
        )

    @torch.inference_mode()
    def text_similarity(self) -> np.ndarray:
        """(classes, classes) float32 cosine similarity of the classes' text embeddings T(s_c)."""
        every = range(len(self._detector.class_names))
        texts = functional.normalize(self._detector.texts(self._encoder, "", every), dim=1)
        return (texts @ texts.T).cpu().numpy()
