"""
Ship a pipeline
===============

My model is trained. How do I give the model and its preprocessing to somebody else, and
does this person get the same predictions as I do?
"""

# %%
# The pipeline predicts the species of 150 irises. The labels are the names of the
# species. Some measurements are missing, and the imputer of the pipeline fills them.

import numpy as np
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import ReBatchCNNClassifier

iris = load_iris()
X, y = iris.data.astype("float32"), iris.target_names[iris.target]
X[np.random.default_rng(0).random(X.shape) < 0.05] = np.nan
pipeline = make_pipeline(
    SimpleImputer(), StandardScaler(), ReBatchCNNClassifier(random_state=0)
).fit(X, y)
print(f"estimated accuracy {pipeline[-1].oof_score_:.3f}")

# %%
# **For Python: skops.** When skops loads a file, it runs no code from the file. The
# file contains objects of several types. Types that skops does not know must be passed
# in the parameter ``trusted``. Read the list of these types before you pass it.

import skops.io

file = skops.io.dumps(pipeline)
names = skops.io.get_untrusted_types(data=file)
loaded = skops.io.loads(file, trusted=names)
same = (loaded.predict_proba(X) == pipeline.predict_proba(X)).all()
print(f"{len(file) / 1024:.0f} KiB, to be trusted: {names}")
print(f"same probabilities: {same}")

# %%
# **For any language: ONNX.** ONNX is a file format for models. A program that is called
# an ONNX runtime reads the file and computes the predictions. The runtime needs neither
# scikit-learn nor torch.

import onnxruntime
import skl2onnx

from skrebatch import register_onnx_converters

register_onnx_converters()
graph = skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False})
file = graph.SerializeToString()
session = onnxruntime.InferenceSession(file)
labels, probabilities = session.run(None, {"X": X})
difference = np.abs(probabilities - pipeline.predict_proba(X)).max()
print(f"{len(file) / 1024:.0f} KiB, largest difference {difference:.0e}")
print(f"same labels: {(labels == pipeline.predict(X)).all()}")

# %%
# Conclusion
# ----------
#
# Both files contain the whole pipeline. The skops file needs Python with the same
# packages. The loaded pipeline gives the same probabilities as the original pipeline,
# to the last bit. The ONNX file can be used in any language. An ONNX runtime gives the
# same probabilities as the pipeline, up to rounding. :doc:`/save` says when to use
# which file.
