"""The Cannon: labels of stars, by a model that learnt from stars whose labels are known."""
