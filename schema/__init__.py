"""What the API says: types, inputs, enums, scalars and their documentation."""
