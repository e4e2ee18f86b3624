"""
Find wrong labels, and train in spite of them
=============================================

Some labels of my table are wrong, and I don't know which. Which rows should I look at,
and can I train a model before the wrong labels are corrected?
"""

# %%
# The rows of the table are 569 tumours. The labels say which tumours are benign (1). In
# this example, a fifth of the training labels is made wrong, so that we can count how
# many wrong labels are found. ``y_given`` contains the training labels after this
# change. These labels, wrong and correct ones, are called the *given* labels.

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
is_wrong = np.random.default_rng(0).random(len(y_train)) < 0.2
y_given = y_train.where(~is_wrong, 1 - y_train)

# %%
# ``find_label_issues`` needs only the features and the given labels. It returns a new
# table with one row for each row of ``X_train``. The row with the most suspect label
# comes first.

from skrebatch import LabelIssuesDisplay, find_label_issues

issues = find_label_issues(X_train, y_given, random_state=0)
issues.head()

# %%
# The column ``is_label_issue`` marks the labels that are probably wrong. The column
# ``label_quality`` is a number from 0 to 1. The lower this number is, the more suspect
# is the label. The histogram shows the quality of the marked labels and of all other
# labels.

display = LabelIssuesDisplay.from_frame(issues)
marked = issues.index[issues["is_label_issue"]]
wrong = y_given.index[is_wrong]
print(f"{len(marked)} of {len(y_train)} labels are marked, {len(wrong)} are wrong")
print(f"{marked.isin(wrong).mean():.0%} of the marked labels are wrong")
print(f"{wrong.isin(marked).mean():.0%} of the wrong labels are marked")

# %%
# Two models are trained twice: once on the given labels, and once on corrected labels.
# To get the corrected labels, the code imitates a person who checks the marked labels
# and corrects the wrong ones. The first model is a random forest. The second model is
# ``ReBatchCNNClassifierCV``. It trains several candidates: networks with plain
# training, and networks that withstand wrong labels. It keeps the best candidate. All
# test labels are correct.

import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import ReBatchCNNClassifierCV

corrected = y_given.where(~y_given.index.isin(marked), y_train)
accuracy = {}
for cls in [RandomForestClassifier, ReBatchCNNClassifierCV]:
    model = make_pipeline(StandardScaler(), cls(random_state=0))
    accuracy[cls.__name__] = {
        "given labels": model.fit(X_train, y_given).score(X_test, y_test),
        "marked corrected": model.fit(X_train, corrected).score(X_test, y_test),
    }
pd.DataFrame(accuracy).round(3)

# %%
# Conclusion
# ----------
#
# Look at the marked rows first: nearly all of them have a wrong label. However, a
# quarter of the wrong labels is not marked. ``ReBatchCNNClassifierCV`` can be trained
# before the labels are corrected. These results are from a single split of one table.
# :doc:`/label_noise` has the results on eleven data sets.
